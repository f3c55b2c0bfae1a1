// What rules that are tried would take away, machine by machine.
import type { RetentionVerdict } from '../api/client'

export interface MemberLoss {
  member: string
  displayName: string
  points: number
  /** Times of the points that go, newest first. */
  going: string[]
}

/** Only machines that lose something, the greatest losses first. */
export function lossOf(verdicts: RetentionVerdict[]): { points: number; going: number; members: MemberLoss[] } {
  const members = new Map<string, MemberLoss>()
  for (const verdict of verdicts) {
    const member = verdict.member ?? ''
    const known = members.get(member) ?? { member, displayName: verdict.displayName || member, points: 0, going: [] }
    known.points += 1
    if ((verdict.keptBy ?? []).length === 0) known.going.push(verdict.pointTime ?? '')
    members.set(member, known)
  }
  const losing = [...members.values()].filter((member) => member.going.length > 0).sort((a, b) => b.going.length - a.going.length)
  return { points: verdicts.length, going: losing.reduce((sum, member) => sum + member.going.length, 0), members: losing }
}
