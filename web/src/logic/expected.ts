// The picture of what a policy keeps: which rule keeps which point, on an axis that gives the last day as much room as the years before.
import type { ExpectedRecoveryPoint } from '../api/client'
import type { components } from '../api/schema'

export const RULE_ROWS = ['last', 'within', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
export type RuleRow = (typeof RULE_ROWS)[number]

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** The rules that keep a point: "daily" of "daily 3 of 7 (2026-11-24)" or "nightly: daily 3 of 7". */
export function rulesOf(point: ExpectedRecoveryPoint): RuleRow[] {
  const words = (point.keptBy ?? []).map((why) => /(?:^|: )(\w+) /.exec(`${why} `)?.[1])
  return RULE_ROWS.filter((rule) => words.includes(rule))
}

export interface ExpectedRow {
  rule: RuleRow
  /** Milliseconds since 1970, newest first. */
  times: number[]
}

/** Only rules that keep something. */
export function expectedRows(points: ExpectedRecoveryPoint[]): ExpectedRow[] {
  return RULE_ROWS.map((rule) => ({
    rule, times: points.filter((point) => rulesOf(point).includes(rule)).map((point) => new Date(point.pointTime ?? '').getTime()),
  })).filter((row) => row.times.length > 0)
}

/** 0 (the oldest) to 1 (now): logarithmic, an hour being the smallest step that counts. */
export function place(time: number, oldest: number, now: number): number {
  const scale = (age: number) => Math.log1p(Math.max(0, age) / HOUR_MS)
  const whole = scale(now - oldest)
  return whole <= 0 ? 1 : 1 - scale(now - time) / whole
}

export const TICKS: [number, string][] = [
  [HOUR_MS, '1 h'], [6 * HOUR_MS, '6 h'], [DAY_MS, '1 d'], [7 * DAY_MS, '1 week'], [30 * DAY_MS, '1 month'], [91 * DAY_MS, '3 months'], [365 * DAY_MS, '1 year'],
  [5 * 365 * DAY_MS, '5 years'],
]

/** "34 points: 14 daily, 8 weekly, 12 monthly". A point that two rules keep counts in both. */
export function expectedWords(points: ExpectedRecoveryPoint[]): string {
  if (points.length === 0) return 'No point'
  const parts = expectedRows(points).map((row) => `${row.times.length} ${row.rule === 'last' ? 'newest' : row.rule === 'within' ? 'of the last time' : row.rule}`)
  return `${points.length.toLocaleString('en-GB')} ${points.length === 1 ? 'point' : 'points'}${parts.length > 0 ? `: ${parts.join(', ')}` : ''}`
}

/** Seconds of the longest time between two runs that begin one after the other; undefined for less than two. */
export function longestGap(runs: components['schemas']['PlannedRun'][]): number | undefined {
  const times = runs.map((run) => new Date(run.lastStartTime ?? run.startTime ?? run.dueTime ?? '').getTime())
  const gaps = times.slice(1).map((time, index) => (time - (times[index] ?? time)) / 1000)
  return gaps.length === 0 ? undefined : Math.max(...gaps)
}
