// How safe the machines are, out of what the API says of coverage and of jobs.
import type { BackupSummary, Coverage, CoverageSummary, Job, Policy, RepositoryDay } from '../api/client'
import { num } from './format'
import { isFinal } from './jobs'

/** What is wrong with a machine, worst first; 'safe' when nothing is. */
export type Standing = 'failing' | 'late' | 'unprotected' | 'never' | 'safe'

export interface FailingMachine {
  machine: string
  /** Its name, when it is known. */
  name?: string
  job: string
  reason: string
  message: string
}

export interface Summary {
  total: number
  safe: number
  late: number
  unprotected: number
  never: number
  failing: number
  failingMachines: FailingMachine[]
}

export function backedUp(job: Job): string[] {
  return job.backup?.virtualMachines ?? []
}

/** The machines whose newest ended backup failed. `jobs` are in any order; cancelled ones say nothing. */
export function failingMachines(jobs: Job[]): FailingMachine[] {
  const newest = new Map<string, Job>()
  for (const job of jobs) {
    if (job.state !== 'STATE_SUCCEEDED' && job.state !== 'STATE_FAILED') continue
    for (const machine of backedUp(job)) {
      const known = newest.get(machine)
      if (!known || (job.endTime ?? '') > (known.endTime ?? '')) newest.set(machine, job)
    }
  }
  return [...newest]
    .filter(([, job]) => job.state === 'STATE_FAILED')
    .map(([machine, job]) => ({
      machine, job: job.name ?? '', reason: job.error?.reason ?? '', message: job.error?.message ?? '',
    }))
}

export function standingOf(row: Coverage, failing: ReadonlySet<string>): Standing {
  if (failing.has(row.virtualMachine ?? '')) return 'failing'
  if ((row.policies ?? []).length === 0) return 'unprotected'
  if (!row.lastGoodTime) return 'never'
  return row.rpoMissed ? 'late' : 'safe'
}

/** Each machine counts once, as the worst that it is. */
export function summarise(coverage: Coverage[], jobs: Job[]): Summary {
  const known = new Set(coverage.map((row) => row.virtualMachine ?? ''))
  // One that is gone from its host fails no more.
  const failures = failingMachines(jobs).filter((failure) => known.has(failure.machine))
  const failing = new Set(failures.map((failure) => failure.machine))
  const summary: Summary = { total: coverage.length, safe: 0, late: 0, unprotected: 0, never: 0, failing: 0, failingMachines: failures }
  for (const row of coverage) summary[standingOf(row, failing)] += 1
  return summary
}

/** The daemon's own sums. */
export function sumsOf(sums: CoverageSummary): Summary {
  return {
    total: num(sums.totalCount), safe: num(sums.protectedCount), late: num(sums.lateCount), unprotected: num(sums.unprotectedCount),
    never: num(sums.neverCount), failing: num(sums.failingCount),
    failingMachines: (sums.failing ?? []).map((failure) => ({
      machine: failure.virtualMachine ?? '', name: failure.displayName, job: failure.job ?? '', reason: failure.error?.reason ?? '',
      message: failure.error?.message ?? '',
    })),
  }
}

export interface Night {
  /** Noon at its beginning. */
  from: number
  succeeded: number
  warned: number
  failed: number
  cancelled: number
}

function noonBefore(now: number, utc: boolean): Date {
  const noon = new Date(now)
  if (utc) noon.setUTCHours(12, 0, 0, 0)
  else noon.setHours(12, 0, 0, 0)
  if (noon.getTime() > now) {
    if (utc) noon.setUTCDate(noon.getUTCDate() - 1)
    else noon.setDate(noon.getDate() - 1)
  }
  return noon
}

/** Backups by the night in which they ended, noon to noon, newest first. Nights before `knownFrom` are left out: their jobs aren't all known. */
export function nights(jobs: Job[], now: number, most: number, knownFrom: number, utc: boolean): Night[] {
  const found: Night[] = []
  const noon = noonBefore(now, utc)
  for (let i = 0; i < most; ++i) {
    const from = noon.getTime()
    if (from < knownFrom) break
    found.push({ from, succeeded: 0, warned: 0, failed: 0, cancelled: 0 })
    if (utc) noon.setUTCDate(noon.getUTCDate() - 1)
    else noon.setDate(noon.getDate() - 1) // not 24 hours: the clocks may have been changed
  }
  for (const job of jobs) {
    if (!job.backup || !isFinal(job) || !job.endTime) continue
    const end = new Date(job.endTime).getTime()
    const night = found.find((candidate) => end >= candidate.from)
    if (!night) continue
    if (job.state === 'STATE_FAILED') night.failed += 1
    else if (job.state === 'STATE_CANCELLED') night.cancelled += 1
    else if ((job.warnings ?? []).length > 0) night.warned += 1
    else night.succeeded += 1
  }
  return found
}

export interface NightSpan {
  /** Noon at the beginning of the first. */
  from: number
  /** Length of each. */
  seconds: number
  count: number
}

/** The last nights as stretches of equal length, oldest first: one, or three when the clocks were changed in one of them. */
export function nightSpans(now: number, most: number, utc: boolean): NightSpan[] {
  const noon = noonBefore(now, utc)
  const shift = (days: number) => {
    if (utc) noon.setUTCDate(noon.getUTCDate() + days)
    else noon.setDate(noon.getDate() + days)
    return noon.getTime()
  }
  let from = shift(1 - most)
  const spans: NightSpan[] = []
  for (let i = 0; i < most; ++i) {
    const to = shift(1)
    const seconds = (to - from) / 1000
    const last = spans.at(-1)
    if (last && last.seconds === seconds) last.count += 1
    else spans.push({ from, seconds, count: 1 })
    from = to
  }
  return spans
}

/** The daemon's stretches, oldest first, as nights, newest first; those before the first backup are left out. */
export function nightsOf(summaries: BackupSummary[]): Night[] {
  const all = summaries.map((summary) => ({
    from: new Date(summary.startTime ?? 0).getTime(), succeeded: num(summary.succeededCount) - num(summary.warnedCount),
    warned: num(summary.warnedCount), failed: num(summary.failedCount), cancelled: num(summary.cancelledCount),
  }))
  const first = all.findIndex((night) => night.succeeded + night.warned + night.failed + night.cancelled > 0)
  return all.slice(first < 0 ? -1 : first).reverse()
}

/** "Since noon", "Last night", or "" for an earlier one. In the morning the night that began yesterday at noon is the last one. */
export function nightName(night: Night, now: number): string {
  const hours = (now - night.from) / 3_600_000
  if (hours < 12) return 'Since noon'
  return hours < 36 ? 'Last night' : ''
}

/** Days until the free space is used up at the mean growth of the known days; undefined when it doesn't grow, or too little is known. */
export function daysUntilFull(days: RepositoryDay[], freeBytes: number): number | undefined {
  const growths = days.flatMap((day) => (day.growthBytes === undefined ? [] : [Number(day.growthBytes)]))
  if (growths.length < 3) return undefined
  const mean = growths.reduce((sum, growth) => sum + growth, 0) / growths.length
  return mean > 0 ? freeBytes / mean : undefined
}

/** The policies that will run, the next one first. */
export function nextRuns(policies: Policy[], most: number): Policy[] {
  return policies
    .filter((policy) => policy.nextRunTime)
    .sort((a, b) => (a.nextRunTime ?? '').localeCompare(b.nextRunTime ?? ''))
    .slice(0, most)
}
