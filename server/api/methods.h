// What the protos say of the methods of umbra.v1 (umbra/v1/options.proto).
#ifndef UMBRA_SERVER_API_METHODS_H_
#define UMBRA_SERVER_API_METHODS_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "umbra/v1/options.pb.h"

namespace umbra::api {

struct MethodFacts {
  const google::protobuf::MethodDescriptor* descriptor = nullptr;
  std::string name;   // "umbra.v1.JobService/CreateJob"
  v1::Access access;
  bool reads = false;  // changes nothing: a GET
  bool lists = false;  // answers with a page of resources
};

// Every method, by service and place in the proto.
const std::vector<MethodFacts>& AllMethods();

// The method whose request this is: no two have the same one. Ends the program when there is none.
const MethodFacts& MethodOf(const google::protobuf::Descriptor& request);

// The permission that this request needs: its method's, or that of a field that is set and says another.
std::string PermissionFor(const MethodFacts& method, const google::protobuf::Message& request);

// As JSON, without what is marked as sensitive. For logs.
std::string WithoutSecrets(const google::protobuf::Message& request);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_METHODS_H_
