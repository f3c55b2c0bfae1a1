import { describe, expect, it } from 'vitest'
import { bytes, duration, enumWords, idOf, machineIds, num, percent, relative, seconds, time, zoneName } from './format'

describe('numbers of the API', () => {
  it('come as texts, and may be absent', () => {
    expect(num('9007199254740991')).toBe(9007199254740991)
    expect(num(undefined)).toBe(0)
    expect(num('x')).toBe(0)
  })
})

describe('bytes', () => {
  it.each([
    [0, '0 B'], [1, '1 B'], [1023, '1023 B'], [1024, '1 KiB'], [1536, '1.5 KiB'], ['1073741824', '1 GiB'], [1024 * 1024 - 1, '1 MiB'],
    [150 * 1024 ** 3, '150 GiB'], [99.97 * 1024 ** 2, '100 MiB'], [2 ** 70, '1024 EiB'],
  ])('%s is %s', (value, text) => expect(bytes(value)).toBe(text))
})

describe('durations', () => {
  it('are read as the API writes them', () => {
    expect(seconds('3.5s')).toBe(3.5)
    expect(seconds('-0.000000001s')).toBe(-1e-9)
    expect(seconds('')).toBeUndefined()
    expect(seconds('3.5')).toBeUndefined()
  })
  it.each([
    [0, '0 ms'], [0.25, '250 ms'], [0.9996, '1 s'], [3.5, '3.5 s'], [9.97, '10 s'], [59.6, '1 min'], [61, '1 min 1 s'], [250, '4 min 10 s'],
    [3599.7, '1 h'], [7500, '2 h 5 min'], [93_600, '1 d 2 h'], [-5, '-5 s'], [undefined, '–'],
  ])('%s is %s', (value, text) => expect(duration(value)).toBe(text))
})

describe('times', () => {
  it('are shown in the zone that was asked for', () => {
    expect(time('2026-11-26T23:59:58.9Z', 'utc')).toBe('26 Nov 2026, 23:59:58')
    expect(time(undefined, 'utc')).toBe('–')
    expect(time('nonsense', 'utc')).toBe('–')
  })
  it('never look nearer than they are', () => {
    const now = Date.parse('2026-11-26T12:00:00Z')
    expect(relative('2026-11-26T11:00:01Z', now)).toBe('59 min ago')
    expect(relative('2026-11-26T11:00:00Z', now)).toBe('1 h ago')
    expect(relative('2026-11-28T11:59:00Z', now)).toBe('in 1 d')
    expect(relative('2026-11-26T12:00:03Z', now)).toBe('now')
    expect(relative(undefined, now)).toBe('never')
  })
  it('say which zone they are in', () => {
    expect(zoneName('utc', new Date())).toBe('UTC')
    expect(zoneName('local', new Date())).toMatch(/^UTC$|\(UTC[+-]\d/)
  })
})

describe('shares', () => {
  it('are full only when everything is done', () => {
    expect(percent(999, 1000)).toBe(99)
    expect(percent(1000, 1000)).toBe(100)
    expect(percent(0, 0)).toBe(0)
    expect(percent(2000, 1000)).toBe(100)
  })
})

describe('names', () => {
  it('give their parts', () => {
    expect(idOf('jobs/j1')).toBe('j1')
    expect(idOf(undefined)).toBe('')
    expect(machineIds('hosts/h/virtualMachines/v')).toEqual({ host: 'h', machine: 'v' })
    expect(machineIds('hosts/h/fileSets/v')).toBeUndefined()
  })
  it('of enums are words', () => {
    expect(enumWords('BACKUP_MECHANISM_CHILD_SNAPSHOT', 'BACKUP_MECHANISM_')).toBe('child snapshot')
    expect(enumWords('BACKUP_MECHANISM_UNSPECIFIED', 'BACKUP_MECHANISM_')).toBe('')
    expect(enumWords(undefined, 'X_')).toBe('')
  })
})
