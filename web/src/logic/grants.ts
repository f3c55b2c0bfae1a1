// What people may do, in words, and what of it can be sent.
import type { Grant, Permission, Scope } from '../api/client'
import { idOf } from './format'

export function scopeEntries(scope: Scope | undefined): string[] {
  return [...(scope?.hosts ?? []), ...(scope?.policies ?? []), ...(scope?.labels ?? [])]
}

/** "operator for host hv-1, label env=test": `hostNames` are names for people by resource name. */
export function grantWords(grant: Grant, hostNames: ReadonlyMap<string, string>): string {
  const parts = [
    ...(grant.scope?.hosts ?? []).map((host) => `host ${hostNames.get(host) ?? idOf(host)}`),
    ...(grant.scope?.policies ?? []).map((policy) => `policy ${idOf(policy)}`),
    ...(grant.scope?.labels ?? []).map((label) => `label ${label}`),
  ]
  return parts.length === 0 ? idOf(grant.role) : `${idOf(grant.role)} for ${parts.join(', ')}`
}

/** Why the grants can't be sent; "" when they can. A scope without entries would be a grant for everything, which nobody means. */
export function grantsProblem(grants: Grant[]): string {
  for (const grant of grants) {
    if (!grant.role) return 'Choose a role for each grant.'
    if (grant.scope && scopeEntries(grant.scope).length === 0) return `Say what ${idOf(grant.role)} is limited to, or let it be for everything.`
  }
  return ''
}

/** "KEY=VALUE" with a key as labels have it. */
export function isLabel(text: string): boolean {
  return /^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?=[^"\n]{0,255}$/.test(text)
}

/** Permissions by what they are of, in order: "jobs" with "jobs.view", "jobs.cancel". */
export function byKind(permissions: Permission[]): [string, Permission[]][] {
  const kinds = new Map<string, Permission[]>()
  for (const permission of permissions) {
    const kind = (permission.id ?? '').split('.')[0] ?? ''
    kinds.set(kind, [...(kinds.get(kind) ?? []), permission])
  }
  return [...kinds]
}

/** "JobService.CreateJob" of the log's "umbra.v1.JobService/CreateJob". */
export function methodWords(method: string | undefined): string {
  return (method ?? '').replace(/^umbra\.v1\.(\w+)\/(\w+)$/, '$1.$2')
}

/** The other way round, for the daemon's filter; anything else stays as it was typed. */
export function methodOf(words: string): string {
  return words.trim().replace(/^(\w+)\.(\w+)$/, 'umbra.v1.$1/$2')
}
