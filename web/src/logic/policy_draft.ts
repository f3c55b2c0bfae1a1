// A policy while it is edited: all that a person can say of it, in the words of the form's fields; the policy that comes of it; and which field a
// refusal of the daemon is about.
import type { Policy } from '../api/client'
import { ApiError } from '../api/problem'
import { num, seconds } from './format'
import { spanOf, spanText } from './span'

export const RULES = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
export type Rule = (typeof RULES)[number]

export interface PolicyDraft {
  id: string
  description: string
  members: string[]
  hosts: string[]
  expression: string
  everythingElse: boolean
  exclude: string
  schedules: string[]
  timeZone: string
  /** One a line. */
  windows: string
  /** One a line. */
  closed: string
  /** Lengths of time as typed, see span.ts. */
  spread: string
  skipMissed: boolean
  repository: string
  childSnapshotOnly: boolean
  forbidSavedState: boolean
  allowCrashConsistent: boolean
  freezeTimeout: string
  wholeHosts: boolean
  retries: number
  backoff: string
  priority: number
  weight: number
  /** MiB a second; 0: no limit. */
  uploadMib: number
  jobs: number
  jobsPerHost: number
  rules: Record<Rule, number>
  within: string
  rpo: string
  preHook: string
  postHook: string
  ignorePreFailure: boolean
}

export type DraftField = keyof PolicyDraft

const MIB = 1024 * 1024

/** A first policy: every machine each night, two weeks of nights and some of what was before. */
export function newDraft(timeZone: string): PolicyDraft {
  return {
    id: '', description: '', members: [], hosts: [], expression: 'all', everythingElse: false, exclude: '', schedules: ['daily at 22:00'], timeZone, windows: '', closed: '',
    spread: '', skipMissed: false, repository: '', childSnapshotOnly: false, forbidSavedState: false, allowCrashConsistent: false, freezeTimeout: '', wholeHosts: false,
    retries: 3, backoff: '', priority: 0, weight: 1, uploadMib: 0, jobs: 0, jobsPerHost: 0,
    rules: { last: 0, hourly: 0, daily: 14, weekly: 8, monthly: 12, yearly: 0 }, within: '', rpo: '26 h', preHook: '', postHook: '', ignorePreFailure: false,
  }
}

const spanOfApi = (value: string | undefined) => spanText(seconds(value) ?? 0)

export function draftOf(policy: Policy): PolicyDraft {
  const retention = policy.retention ?? {}
  return {
    id: (policy.name ?? '').replace('policies/', ''), description: policy.description ?? '',
    members: policy.selection?.members ?? [], hosts: policy.selection?.hosts ?? [], expression: policy.selection?.expression ?? '',
    everythingElse: policy.selection?.everythingElse ?? false, exclude: policy.selection?.exclude ?? '',
    schedules: policy.schedules ?? [], timeZone: policy.timeZone ?? '', windows: (policy.windows ?? []).join('\n'), closed: (policy.closed ?? []).join('\n'),
    spread: spanOfApi(policy.spread), skipMissed: policy.skipMissed ?? false, repository: policy.repository ?? '',
    childSnapshotOnly: policy.mechanismPreference === 'MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY', forbidSavedState: policy.forbidSavedState ?? false,
    allowCrashConsistent: policy.allowCrashConsistent ?? false, freezeTimeout: spanOfApi(policy.freezeTimeout), wholeHosts: policy.grouping === 'GROUPING_HOST',
    retries: num(policy.retry?.maxRetries), backoff: spanOfApi(policy.retry?.backoff), priority: num(policy.priority), weight: num(policy.weight) || 1,
    uploadMib: num(policy.uploadBytesPerSecond) / MIB, jobs: num(policy.concurrency?.jobs), jobsPerHost: num(policy.concurrency?.jobsPerHost),
    rules: {
      last: num(retention.last), hourly: num(retention.hourly), daily: num(retention.daily), weekly: num(retention.weekly), monthly: num(retention.monthly),
      yearly: num(retention.yearly),
    },
    within: spanOfApi(retention.within), rpo: spanOfApi(policy.rpo),
    preHook: policy.hooks?.pre ?? '', postHook: policy.hooks?.post ?? '', ignorePreFailure: policy.hooks?.ignorePreFailure ?? false,
  }
}

const lines = (text: string) => text.split('\n').map((line) => line.trim()).filter((line) => line !== '')
const apiSpan = (text: string) => `${spanOf(text) ?? 0}s`

export function retentionOf(draft: PolicyDraft): NonNullable<Policy['retention']> {
  const within = spanOf(draft.within) ?? 0
  return { ...draft.rules, ...(within > 0 ? { within: `${within}s` } : {}) }
}

/** What is sent: with `name` and `etag` of the policy that is changed, without them for a new one. */
export function policyOf(draft: PolicyDraft, existing?: Policy): Policy {
  return {
    ...(existing ? { name: existing.name, etag: existing.etag } : {}),
    description: draft.description.trim(),
    selection: {
      members: draft.members, hosts: draft.hosts, expression: draft.expression.trim(), everythingElse: draft.everythingElse, exclude: draft.exclude.trim(),
    },
    schedules: draft.schedules.map((text) => text.trim()).filter((text) => text !== ''), timeZone: draft.timeZone.trim(),
    windows: lines(draft.windows), closed: lines(draft.closed), spread: apiSpan(draft.spread), skipMissed: draft.skipMissed, repository: draft.repository,
    mechanismPreference: draft.childSnapshotOnly ? 'MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY' : 'MECHANISM_PREFERENCE_AUTO',
    forbidSavedState: draft.forbidSavedState, allowCrashConsistent: draft.allowCrashConsistent, freezeTimeout: apiSpan(draft.freezeTimeout),
    grouping: draft.wholeHosts ? 'GROUPING_HOST' : 'GROUPING_VIRTUAL_MACHINE',
    retry: { maxRetries: draft.retries, backoff: apiSpan(draft.backoff) }, priority: draft.priority, weight: draft.weight,
    uploadBytesPerSecond: String(Math.round(draft.uploadMib * MIB)), concurrency: { jobs: draft.jobs, jobsPerHost: draft.jobsPerHost },
    retention: retentionOf(draft), rpo: apiSpan(draft.rpo),
    ...(draft.preHook || draft.postHook ? { hooks: { pre: draft.preHook.trim(), post: draft.postHook.trim(), ignorePreFailure: draft.ignorePreFailure } } : {}),
  }
}

export type DraftProblems = Partial<Record<DraftField, string>>

const SPANS: DraftField[] = ['spread', 'freezeTimeout', 'backoff', 'within', 'rpo']

/** What the daemon needn't be asked for: only what has no form that could be sent to it. */
export function draftProblems(draft: PolicyDraft, isNew: boolean): DraftProblems {
  const problems: DraftProblems = {}
  for (const field of SPANS) {
    if (spanOf(String(draft[field])) === undefined) problems[field] = 'A length of time, such as 26 h, 90 min or 7 days.'
  }
  if (isNew && !/^[a-z0-9][a-z0-9-]{0,62}$/.test(draft.id)) problems.id = '1 to 63 of a-z, 0-9 and -, not - first.'
  return problems
}

// As the daemon names fields, longest first: "policy.retention.within" before "policy.retention".
const FIELDS: [string, DraftField][] = [
  ['policy_id', 'id'], ['policy.description', 'description'], ['policy.selection.members', 'members'], ['policy.selection.hosts', 'hosts'], ['policy.selection', 'expression'],
  ['policy.schedules', 'schedules'], ['policy.time_zone', 'timeZone'], ['policy.windows', 'windows'], ['policy.closed', 'closed'], ['policy.spread', 'spread'],
  ['policy.repository', 'repository'], ['policy.mechanism_preference', 'childSnapshotOnly'], ['policy.allow_crash_consistent', 'allowCrashConsistent'],
  ['policy.freeze_timeout', 'freezeTimeout'], ['policy.grouping', 'wholeHosts'], ['policy.retention.within', 'within'], ['policy.retention', 'rules'], ['policy.rpo', 'rpo'],
  ['policy.hooks.post', 'postHook'], ['policy.hooks', 'preHook'], ['policy.retry.backoff', 'backoff'], ['retry.backoff', 'backoff'], ['policy.retry', 'retries'], ['retry', 'retries'],
  ['policy.priority', 'priority'], ['priority', 'priority'], ['policy.weight', 'weight'], ['weight', 'weight'], ['upload_bytes_per_second', 'uploadMib'], ['policy_concurrency', 'jobs'],
]

/** The field that a refusal is about; undefined when it is about none. */
export function fieldOf(error: unknown, draft: PolicyDraft): DraftField | undefined {
  if (!(error instanceof ApiError)) return undefined
  const text = error.message
  switch (error.reason) {
    case 'POLICY_EXISTS': return 'id'
    case 'REPOSITORY_NOT_FOUND': return 'repository'
    case 'INVALID_SELECTION': return draft.exclude !== '' && text.includes(`"${draft.exclude.trim().slice(0, 200)}"`) ? 'exclude' : 'expression'
    case 'INVALID_SCHEDULE': return text.includes('time zone') ? 'timeZone' : 'schedules'
    case 'INVALID_WINDOW': return lines(draft.closed).some((line) => text.includes(`"${line}"`)) ? 'closed' : 'windows'
    default: return FIELDS.find(([prefix]) => text.startsWith(prefix))?.[1]
  }
}

/** Fields of which two policies say something else; `etag`, times and the like don't count. */
export function differences(a: PolicyDraft, b: PolicyDraft): DraftField[] {
  return (Object.keys(a) as DraftField[]).filter((field) => JSON.stringify(a[field]) !== JSON.stringify(b[field]))
}

export const FIELD_WORDS: Record<DraftField, string> = {
  id: 'name', description: 'description', members: 'machines by name', hosts: 'hosts', expression: 'expression', everythingElse: 'everything else', exclude: 'exceptions',
  schedules: 'schedule', timeZone: 'time zone', windows: 'windows', closed: 'closed times', spread: 'spread', skipMissed: 'missed times', repository: 'repository',
  childSnapshotOnly: 'mechanism', forbidSavedState: 'saved state', allowCrashConsistent: 'crash-consistent points', freezeTimeout: 'longest freeze', wholeHosts: 'grouping',
  retries: 'further attempts', backoff: 'pause between attempts', priority: 'priority', weight: 'weight', uploadMib: 'upload limit', jobs: 'jobs at once',
  jobsPerHost: 'jobs at once on a host', rules: 'retention', within: 'retention of the last time', rpo: 'promised age', preHook: 'hook before', postHook: 'hook after',
  ignorePreFailure: 'failure of the hook',
}
