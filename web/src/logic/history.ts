// A machine's recovery points as history: on the days of a month, and as series over time.
import type { RecoveryPoint } from '../api/client'
import { num, seconds, type Zone } from './format'

/** "2026-11-26" in the zone that the page shows. */
export function dayOf(value: string, zone: Zone): string {
  const date = new Date(value)
  const [year, month, day] = zone === 'utc' ? [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()] : [date.getFullYear(), date.getMonth(), date.getDate()]
  return `${year}-${String(month + 1).padStart(2, '0')}-${String(day).padStart(2, '0')}`
}

export type DayTone = 'good' | 'held' | 'removed' | 'none'

export interface CalendarDay {
  /** "2026-11-26". */
  day: string
  number: number
  points: RecoveryPoint[]
  tone: DayTone
}

function toneOf(points: RecoveryPoint[]): DayTone {
  const there = points.filter((point) => !point.deleteTime)
  if (there.length === 0) return points.length > 0 ? 'removed' : 'none'
  return there.some((point) => point.held || point.lockUntilTime) ? 'held' : 'good'
}

/** Weeks of "2026-11" from Monday; undefined for days of other months. */
export function monthWeeks(month: string, points: RecoveryPoint[], zone: Zone): (CalendarDay | undefined)[][] {
  const byDay = new Map<string, RecoveryPoint[]>()
  for (const point of points) {
    const day = dayOf(point.pointTime ?? '', zone)
    byDay.set(day, [...(byDay.get(day) ?? []), point])
  }
  const [year = 1970, number = 1] = month.split('-').map(Number)
  const count = new Date(Date.UTC(year, number, 0)).getUTCDate()
  const before = (new Date(Date.UTC(year, number - 1, 1)).getUTCDay() + 6) % 7
  const cells: (CalendarDay | undefined)[] = Array.from({ length: before }, () => undefined)
  for (let day = 1; day <= count; ++day) {
    const name = `${month}-${String(day).padStart(2, '0')}`
    const its = byDay.get(name) ?? []
    cells.push({ day: name, number: day, points: its, tone: toneOf(its) })
  }
  while (cells.length % 7 !== 0) cells.push(undefined)
  return Array.from({ length: cells.length / 7 }, (_, week) => cells.slice(week * 7, week * 7 + 7))
}

/** "2026-12" of "2026-11" and 1. */
export function monthPlus(month: string, months: number): string {
  const [year = 1970, number = 1] = month.split('-').map(Number)
  return new Date(Date.UTC(year, number - 1 + months, 1)).toISOString().slice(0, 7)
}

export function monthWords(month: string): string {
  return new Intl.DateTimeFormat('en-GB', { month: 'long', year: 'numeric', timeZone: 'UTC' }).format(new Date(`${month}-01T00:00:00Z`))
}

export interface PointSeries {
  /** Seconds since 1970, rising. */
  times: number[]
  read: number[]
  fresh: number[]
  stored: number[]
  /** New bytes in a hundred of what the point holds; null where that isn't known. */
  change: (number | null)[]
  /** Seconds; null where nothing was frozen or stopped. */
  frozen: (number | null)[]
  stopped: (number | null)[]
}

/** `points` in any order; removed ones count too: they happened. */
export function pointSeries(points: RecoveryPoint[]): PointSeries {
  const ordered = points.filter((point) => point.pointTime).map((point) => ({ point, at: new Date(point.pointTime ?? '').getTime() / 1000 })).sort((a, b) => a.at - b.at)
  const of = <T,>(value: (point: RecoveryPoint) => T) => ordered.map(({ point }) => value(point))
  return {
    times: ordered.map(({ at }) => at),
    read: of((point) => num(point.readBytes)), fresh: of((point) => num(point.figures?.uniqueBytes)), stored: of((point) => num(point.storedBytes)),
    change: of((point) => (num(point.figures?.logicalBytes) > 0 ? (num(point.figures?.uniqueBytes) / num(point.figures?.logicalBytes)) * 100 : null)),
    frozen: of((point) => seconds(point.freezeDuration) || null), stopped: of((point) => seconds(point.downtime) || null),
  }
}

/** The middle of the values that are known, and the greatest of them; undefined when there is none. */
export function middleAndMost(values: (number | null)[]): { middle: number; most: number } | undefined {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b)
  const middle = known[Math.floor((known.length - 1) / 2)]
  const most = known.at(-1)
  return middle === undefined || most === undefined ? undefined : { middle, most }
}
