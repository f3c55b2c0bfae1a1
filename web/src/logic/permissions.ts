// What the signed-in person may do. The daemon decides; this only spares people buttons that would be refused.
import type { Identity } from '../api/client'

function holds(permissions: string[] | undefined, permission: string): boolean {
  const kind = `${permission.split('.')[0]}.*`
  return (permissions ?? []).some((held) => held === '*' || held === kind || held === permission)
}

/** Whether any of the grants has the permission, for whatever part of the system. */
export function can(identity: Identity | undefined, permission: string): boolean {
  return (identity?.grants ?? []).some((grant) => holds(grant.permissions, permission))
}

/** Whether a grant has it for everything: what only makes sense of the whole, such as sums, is refused to others. */
export function canEverywhere(identity: Identity | undefined, permission: string): boolean {
  return (identity?.grants ?? []).some((grant) => {
    const { hosts = [], policies = [], labels = [] } = grant.scope ?? {}
    return hosts.length + policies.length + labels.length === 0 && holds(grant.permissions, permission)
  })
}
