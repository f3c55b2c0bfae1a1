// How a repository grows: what the chart of it is drawn from. Pure.
import type { Repository, RepositoryDay } from '../api/client'
import { daysUntilFull } from './coverage'
import { num } from './format'

export interface DayPoint {
  /** Noon of the day, UTC. */
  at: number
  date: string
  stored: number
  /** What the recovery points hold: without deduplication and compression it would be stored. */
  held: number
  points: number
  growth: number | undefined
}

export const DAY_MS = 86_400_000

export function dayPoints(days: RepositoryDay[]): DayPoint[] {
  return days
    .map((day) => ({
      at: Date.parse(`${day.date ?? ''}T12:00:00Z`), date: day.date ?? '', stored: num(day.storedBytes), held: num(day.logicalBytes),
      points: num(day.recoveryPointCount), growth: day.growthBytes === undefined ? undefined : num(day.growthBytes),
    }))
    .filter((point) => !Number.isNaN(point.at))
    .sort((a, b) => a.at - b.at)
}

export interface Forecast {
  /** Where the line begins and ends, at the mean growth of the known days. */
  from: { at: number; stored: number }
  to: { at: number; stored: number }
  /** Days until nothing is free. */
  fullInDays: number
}

/** Half as far into the future as is known of the past, at most until it is full; undefined when it doesn't grow, or too little is known. */
export function forecast(repository: Repository): Forecast | undefined {
  const points = dayPoints(repository.days ?? [])
  const first = points[0]
  const last = points.at(-1)
  const free = num(repository.freeBytes)
  const fullInDays = daysUntilFull(repository.days ?? [], free)
  if (!first || !last || last.at === first.at || fullInDays === undefined || fullInDays <= 0) return undefined
  const ahead = Math.min(fullInDays, Math.max(1, (last.at - first.at) / DAY_MS / 2))
  return {
    from: { at: last.at, stored: last.stored },
    to: { at: last.at + ahead * DAY_MS, stored: last.stored + (free / fullInDays) * ahead },
    fullInDays,
  }
}

export interface GrowthChart {
  /** Seconds since 1970: the known days, and the end of the forecast. */
  times: number[]
  stored: (number | null)[]
  held: (number | null)[]
  /** Begins at the last known day; undefined without a forecast. */
  ahead: (number | null)[] | undefined
}

export function chartOf(repository: Repository): GrowthChart {
  const points = dayPoints(repository.days ?? [])
  const line = forecast(repository)
  const end = line ? [line.to.at / 1000] : []
  return {
    times: [...points.map((point) => point.at / 1000), ...end],
    stored: [...points.map((point) => point.stored), ...end.map(() => null)],
    held: [...points.map((point) => point.held), ...end.map(() => null)],
    ahead: line && [...points.map((point) => (point.at === line.from.at ? line.from.stored : null)), line.to.stored],
  }
}

/** Not stored thanks to deduplication and compression. */
export function savedBytes(repository: Pick<Repository, 'logicalBytes' | 'storedBytes'>): number {
  return Math.max(0, num(repository.logicalBytes) - num(repository.storedBytes))
}

/** "today", "about 12 days", "more than a year": when nothing is free any more. */
export function fullWords(days: number | undefined): string {
  if (days === undefined) return ''
  if (days < 1) return 'full today'
  if (days > 730) return 'full in more than two years'
  const whole = Math.round(days)
  return whole > 60 ? `full in about ${Math.round(whole / 30)} months` : `full in about ${whole} ${whole === 1 ? 'day' : 'days'}`
}
