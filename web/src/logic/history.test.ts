import { describe, expect, it } from 'vitest'
import type { RecoveryPoint } from '../api/client'
import { dayOf, middleAndMost, monthPlus, monthWeeks, monthWords, pointSeries } from './history'
import { labelChange, labelsOf, labelText } from './labels'

const point = (pointTime: string, more: RecoveryPoint = {}): RecoveryPoint => ({ pointTime, ...more })

describe('a month of recovery points', () => {
  const points = [
    point('2026-11-26T01:00:00Z'), point('2026-11-26T13:00:00Z', { deleteTime: '2026-11-27T00:00:00Z' }), point('2026-11-01T00:30:00Z', { held: true }), point('2026-10-31T23:30:00Z'),
    point('2026-11-03T00:00:00Z', { deleteTime: '2026-11-27T00:00:00Z' }), point('2026-11-04T00:00:00Z', { lockUntilTime: '2027-01-01T00:00:00Z' }),
  ]
  const weeks = monthWeeks('2026-11', points, 'utc')
  const day = (number: number) => weeks.flat().find((one) => one?.number === number)
  it('has weeks from Monday, and all days of the month once', () => {
    expect(weeks[0]?.map((one) => one?.number)).toEqual([undefined, undefined, undefined, undefined, undefined, undefined, 1])
    expect(weeks.flat().filter((one) => one)).toHaveLength(30)
    expect(weeks.every((week) => week.length === 7)).toBe(true)
    expect(monthWeeks('2028-02', [], 'utc').flat().filter((one) => one)).toHaveLength(29)
  })
  it('shows each day’s points by what can be done with them', () => {
    expect(day(26)?.points).toHaveLength(2)
    expect([day(26), day(1), day(3), day(4), day(5)].map((one) => one?.tone)).toEqual(['good', 'held', 'removed', 'held', 'none'])
    expect(day(1)?.points).toHaveLength(1)
  })
  it('is followed by the next', () => {
    expect(monthPlus('2026-12', 1)).toBe('2027-01')
    expect(monthPlus('2026-01', -1)).toBe('2025-12')
    expect(monthWords('2026-11')).toBe('November 2026')
    expect(dayOf('2026-11-26T23:59:59Z', 'utc')).toBe('2026-11-26')
  })
})

describe('what points cost over time', () => {
  it('rises in time, with gaps where nothing is known', () => {
    const series = pointSeries([
      point('2026-11-26T00:00:00Z', { readBytes: '5', storedBytes: '2', figures: { uniqueBytes: '3', logicalBytes: '12' }, freezeDuration: '0.2s' }),
      point('2026-11-25T00:00:00Z', { readBytes: '9', downtime: '3s' }),
    ])
    expect(series.times[0]).toBeLessThan(series.times[1] ?? 0)
    expect([series.read, series.fresh, series.stored, series.change, series.frozen, series.stopped]).toEqual([[9, 5], [0, 3], [0, 2], [null, 25], [null, 0.2], [3, null]])
  })
  it('is said in its middle and its greatest', () => {
    expect(middleAndMost([null, 1, 9, 2, null])).toEqual({ middle: 2, most: 9 })
    expect(middleAndMost([null])).toBeUndefined()
  })
})

describe('labels', () => {
  it('are typed one a line', () => {
    expect(labelsOf(' env=prod\n\nteam/sub = post office \n').labels).toEqual({ env: 'prod', 'team/sub': 'post office' })
    expect(labelText({ a: '1', b: '2' })).toBe('a=1\nb=2')
  })
  it('say which line can’t be one', () => {
    for (const wrong of ['env', 'env=', 'Env=prod', '-a=b', 'a=1\na=2', 'a="b"']) expect(labelsOf(wrong).problem).toBeTruthy()
  })
  it('are changed by what differs', () => {
    expect(labelChange({ a: '1', b: '2', c: '3' }, { a: '1', b: '9', d: '4' })).toEqual({ set: { b: '9', d: '4' }, remove: ['c'] })
    expect(labelChange(undefined, {})).toEqual({ set: {}, remove: [] })
  })
})
