// The command that enrols a host.

const EVERYWHERE = new Set(['0.0.0.0', '[::]', '::'])

/** `address` is the daemon's, "address:port"; one that only says "on every interface" is replaced by the name under which this page found the daemon. */
export function enrolCommand(token: string, address: string, pageHost: string): string {
  const at = address.lastIndexOf(':')
  const host = address.slice(0, at)
  const reached = EVERYWHERE.has(host) ? `${pageHost}${address.slice(at)}` : address
  return `umbra-agent enrol --token '${token}' --daemon ${reached}`
}
