import { describe, expect, it } from 'vitest'
import { chartOf, DAY_MS, dayPoints, forecast, fullWords, savedBytes } from './growth'

const days = (growths: number[]) => growths.map((growth, index) => ({
  date: `2026-11-${String(index + 1).padStart(2, '0')}`, storedBytes: String(1000 + growths.slice(0, index + 1).reduce((sum, next) => sum + next, 0)),
  logicalBytes: '9000', recoveryPointCount: '3', ...(index > 0 ? { growthBytes: String(growth) } : {}),
}))

describe('the days of a repository', () => {
  it('are points in order of time; days that are none are left out', () => {
    const points = dayPoints([...days([0, 100, 100]).reverse(), { date: 'soon' }])
    expect(points.map((point) => [point.date, point.stored, point.growth])).toEqual([['2026-11-01', 1000, undefined], ['2026-11-02', 1100, 100], ['2026-11-03', 1200, 100]])
  })
})

describe('the forecast', () => {
  it('goes on from the last day at the mean growth, half as far as is known', () => {
    const found = forecast({ freeBytes: '1000', days: days([0, 100, 100, 100, 100]) })
    expect(found?.fullInDays).toBe(10)
    expect(found?.from).toEqual({ at: Date.parse('2026-11-05T12:00:00Z'), stored: 1400 })
    expect(found?.to).toEqual({ at: Date.parse('2026-11-05T12:00:00Z') + 2 * DAY_MS, stored: 1600 })
  })
  it('ends where nothing is free', () => {
    const found = forecast({ freeBytes: '100', days: days([0, 100, 100, 100, 100]) })
    expect(found?.to).toEqual({ at: Date.parse('2026-11-06T12:00:00Z'), stored: 1500 })
  })
  it('is none while it doesn’t grow, or little is known', () => {
    expect(forecast({ freeBytes: '100', days: days([0, -5, 0, 0]) })).toBeUndefined()
    expect(forecast({ freeBytes: '100', days: days([0, 5]) })).toBeUndefined()
    expect(forecast({ freeBytes: '100' })).toBeUndefined()
  })
})

describe('the picture', () => {
  it('has the known days, and the forecast from the last of them on', () => {
    const chart = chartOf({ freeBytes: '1000', days: days([0, 100, 100, 100, 100]) })
    expect(chart.times).toHaveLength(6)
    expect(chart.stored).toEqual([1000, 1100, 1200, 1300, 1400, null])
    expect(chart.held.at(0)).toBe(9000)
    expect(chart.ahead).toEqual([null, null, null, null, 1400, 1600])
  })
  it('has only the days when nothing can be said of later', () => {
    const chart = chartOf({ freeBytes: '1000', days: days([0, 100]) })
    expect(chart.times).toHaveLength(2)
    expect(chart.ahead).toBeUndefined()
  })
})

describe('words', () => {
  it('say when it is full', () => {
    expect([undefined, 0.4, 1, 12.3, 100, 5000].map(fullWords)).toEqual(['', 'full today', 'full in about 1 day', 'full in about 12 days', 'full in about 3 months', 'full in more than two years'])
  })
  it('never save less than nothing', () => {
    expect(savedBytes({ logicalBytes: '10', storedBytes: '4' })).toBe(6)
    expect(savedBytes({ logicalBytes: '1', storedBytes: '4' })).toBe(0)
  })
})
