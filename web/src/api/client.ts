// The API, typed by its own description (src/api/schema.d.ts, made from the OpenAPI document). Nothing here that umbra.v1 doesn't offer.
import createClient from 'openapi-fetch'
import { toApiError } from './problem'
import type { components, paths } from './schema'

type Schemas = components['schemas']
export type ApiToken = Schemas['ApiToken']
export type AuditEntry = Schemas['AuditEntry']
export type BackupSummary = Schemas['BackupSummary']
export type Catalog = Schemas['Catalog']
export type Coverage = Schemas['Coverage']
export type CoverageSummary = Schemas['CoverageSummary']
export type Event = Schemas['Event']
export type ExpectedRecoveryPoint = Schemas['ExpectedRecoveryPoint']
export type Grant = Schemas['Grant']
export type Host = Schemas['Host']
export type Identity = Schemas['Identity']
export type Job = Schemas['Job']
export type JobMessage = Schemas['JobMessage']
export type JobPhase = Schemas['JobPhase']
export type Notification = Schemas['Notification']
export type NotificationChannel = Schemas['NotificationChannel']
export type NotificationTopic = Schemas['NotificationTopic']
export type Permission = Schemas['Permission']
export type Policy = Schemas['Policy']
export type RecoveryPoint = Schemas['RecoveryPoint']
export type RecoveryPointFile = Schemas['RecoveryPointFile']
export type Repository = Schemas['Repository']
export type RepositoryDay = Schemas['RepositoryDay']
export type RetentionVerdict = Schemas['RetentionVerdict']
export type RepositoryKey = Schemas['RepositoryKey']
export type Role = Schemas['Role']
export type Scope = Schemas['Scope']
export type Session = Schemas['Session']
export type User = Schemas['User']
export type VirtualMachine = Schemas['VirtualMachine']
export type Writer = Schemas['Writer']

// The header is what the daemon wants of every call that changes something: a page of another origin can't send it.
export const api = createClient<paths>({
  baseUrl: window.location.origin, headers: { 'X-Umbra-Request': '1' }, fetch: (request) => fetch(request),
})

/** The answer's body; throws ApiError for a refusal, and what fetch throws when there is no answer. */
export async function body<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call
  if (!response.ok) throw toApiError(response.status, error)
  return data as T
}
