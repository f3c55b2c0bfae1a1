// What the signed-in person may do. The daemon decides; this only spares people buttons that would be refused.
import type { Identity } from '../api/client'

/** Whether any of the grants has the permission, for whatever part of the system. */
export function can(identity: Identity | undefined, permission: string): boolean {
  const kind = `${permission.split('.')[0]}.*`
  return (identity?.grants ?? []).some((grant) =>
    (grant.permissions ?? []).some((held) => held === '*' || held === kind || held === permission))
}
