// How safe the machines are, out of what the API says of coverage and of jobs.
import type { Coverage, Job, Policy, RepositoryDay } from '../api/client'
import { isFinal } from './jobs'

/** What is wrong with a machine, worst first; 'safe' when nothing is. */
export type Standing = 'failing' | 'late' | 'unprotected' | 'never' | 'safe'

export interface FailingMachine {
  machine: string
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
