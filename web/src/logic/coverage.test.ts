import { describe, expect, it, vi } from 'vitest'
import type { Job } from '../api/client'
import { daysUntilFull, failingMachines, nextRuns, nightName, nights, nightsOf, nightSpans, summarise, sumsOf } from './coverage'

const vm = (id: string) => `hosts/h/virtualMachines/${id}`

function backup(machines: string[], state: Job['state'], endTime: string, more: Partial<Job> = {}): Job {
  return { name: `jobs/${machines.join('-')}-${endTime}`, backup: { virtualMachines: machines.map(vm) }, state, endTime, ...more }
}

describe('failing machines', () => {
  it('are those whose newest ended backup failed, whatever the order of the jobs', () => {
    const jobs = [
      backup(['a'], 'STATE_FAILED', '2026-11-25T01:00:00Z'),
      backup(['a'], 'STATE_SUCCEEDED', '2026-11-26T01:00:00Z'),
      backup(['b', 'c'], 'STATE_FAILED', '2026-11-26T02:00:00Z', { error: { reason: 'GUEST_FREEZE_TIMEOUT', message: 'too slow' } }),
      backup(['b'], 'STATE_SUCCEEDED', '2026-11-25T02:00:00Z'),
      backup(['c'], 'STATE_CANCELLED', '2026-11-26T03:00:00Z'),
      backup(['c'], 'STATE_RUNNING', ''),
    ]
    const found = failingMachines(jobs)
    expect(found.map((failure) => failure.machine).sort()).toEqual([vm('b'), vm('c')])
    expect(found[0]).toMatchObject({ reason: 'GUEST_FREEZE_TIMEOUT', message: 'too slow' })
  })
})

describe('the summary', () => {
  it('counts each machine once, as the worst that it is', () => {
    const rows = [
      { virtualMachine: vm('a'), policies: ['policies/p'], rpoMissed: true, lastGoodTime: '2026-11-20T01:00:00Z' },
      { virtualMachine: vm('b'), policies: [], rpoMissed: false },
      { virtualMachine: vm('c'), policies: ['policies/p'], rpoMissed: true },
      { virtualMachine: vm('e'), policies: ['policies/p'], lastGoodTime: '2026-11-26T01:00:00Z' },
    ]
    const summary = summarise(rows, [backup(['c'], 'STATE_FAILED', '2026-11-26T02:00:00Z')])
    expect(summary).toMatchObject({ total: 4, failing: 1, late: 1, unprotected: 1, never: 0, safe: 1 })
  })
  it('calls no machine safe that was never backed up, also without a promise', () => {
    expect(summarise([{ virtualMachine: vm('a'), policies: ['policies/p'] }], [])).toMatchObject({ total: 1, safe: 0, never: 1 })
  })
  it('knows nothing of machines that are gone', () => {
    expect(summarise([], [backup(['a'], 'STATE_FAILED', '2026-11-26T02:00:00Z')])).toMatchObject({ total: 0, failing: 0, failingMachines: [] })
  })
})

describe('nights', () => {
  const now = Date.parse('2026-11-26T08:00:00Z')
  it('go from noon to noon and tell what became of backups', () => {
    const found = nights([
      backup(['a'], 'STATE_SUCCEEDED', '2026-11-25T22:00:00Z'),
      backup(['a'], 'STATE_SUCCEEDED', '2026-11-26T03:00:00Z', { warnings: [{ reason: 'X' }] }),
      backup(['b'], 'STATE_FAILED', '2026-11-25T11:59:59Z'),
      { ...backup(['b'], 'STATE_SUCCEEDED', '2026-11-25T23:00:00Z'), backup: undefined, verify: {} },
    ], now, 3, 0, true)
    expect(found.map((night) => new Date(night.from).toISOString())).toEqual(['2026-11-25T12:00:00.000Z', '2026-11-24T12:00:00.000Z', '2026-11-23T12:00:00.000Z'])
    expect(found[0]).toMatchObject({ succeeded: 1, warned: 1, failed: 0 })
    expect(found[1]).toMatchObject({ succeeded: 0, failed: 1 })
  })
  it('of which not all jobs are known are left out', () => {
    expect(nights([], now, 7, Date.parse('2026-11-24T13:00:00Z'), true)).toHaveLength(1)
    expect(nights([], now, 7, now, true)).toHaveLength(0)
  })
})

describe('the name of a night', () => {
  const night = (from: string) => ({ from: Date.parse(from), succeeded: 0, warned: 0, failed: 0, cancelled: 0 })
  it.each([
    ['2026-11-26T12:00:00Z', '2026-11-26T18:00:00Z', 'Since noon'], ['2026-11-25T12:00:00Z', '2026-11-26T18:00:00Z', 'Last night'],
    ['2026-11-25T12:00:00Z', '2026-11-26T08:00:00Z', 'Last night'], ['2026-11-24T12:00:00Z', '2026-11-26T08:00:00Z', ''],
  ])('from %s is at %s: %s', (from, now, name) => expect(nightName(night(from), Date.parse(now))).toBe(name))
})

describe('the forecast', () => {
  const days = (...growths: string[]) => [{ date: 'first' }, ...growths.map((growthBytes) => ({ growthBytes }))]
  it('is at the mean growth', () => expect(daysUntilFull(days('10', '20', '30'), 200)).toBe(10))
  it('is not made of too little, or when nothing grows', () => {
    expect(daysUntilFull(days('10', '20'), 200)).toBeUndefined()
    expect(daysUntilFull(days('10', '-20', '5'), 200)).toBeUndefined()
  })
})

describe('next runs', () => {
  it('come in their order, without those that have none', () => {
    const found = nextRuns([{ name: 'policies/b', nextRunTime: '2026-11-27T00:00:00Z' }, { name: 'policies/c' }, { name: 'policies/a', nextRunTime: '2026-11-26T22:00:00Z' }], 5)
    expect(found.map((policy) => policy.name)).toEqual(['policies/a', 'policies/b'])
  })
})

describe('the daemon’s sums', () => {
  it('are shown as they are, with the names that come with them', () => {
    const summary = sumsOf({
      totalCount: '50000', protectedCount: '49000', failingCount: '30', unprotectedCount: '900', neverCount: '60', lateCount: '10',
      failing: [{ virtualMachine: vm('a'), displayName: 'mail01', job: 'jobs/j', error: { reason: 'X', message: 'slow' } }],
    })
    expect(summary).toMatchObject({ total: 50000, safe: 49000, failing: 30, unprotected: 900, never: 60, late: 10 })
    expect(summary.failingMachines).toEqual([{ machine: vm('a'), name: 'mail01', job: 'jobs/j', reason: 'X', message: 'slow' }])
  })
  it('of nights are asked for from noon to noon, in one stretch while the clocks stay', () => {
    const now = Date.parse('2026-11-26T09:00:00Z')
    expect(nightSpans(now, 7, true)).toEqual([{ from: Date.parse('2026-11-19T12:00:00Z'), seconds: 86_400, count: 7 }])
  })
  it('of nights in which the clocks are changed are asked for by themselves', () => {
    vi.stubEnv('TZ', 'Europe/Berlin')
    // Summer time ended on 25 October at 3:00: that night has 25 hours.
    const spans = nightSpans(Date.parse('2026-10-27T09:00:00Z'), 4, false)
    vi.unstubAllEnvs()
    expect(spans.map(({ seconds, count }) => [seconds / 3600, count])).toEqual([[24, 1], [25, 1], [24, 2]])
    expect(new Date(spans[0]?.from ?? 0).toISOString()).toBe('2026-10-23T10:00:00.000Z')
  })
  it('of nights are the newest first, without those before the first backup', () => {
    const of = (startTime: string, more: object = {}) => ({ startTime, succeededCount: '0', warnedCount: '0', failedCount: '0', cancelledCount: '0', ...more })
    const found = nightsOf([of('2026-11-23T12:00:00Z'), of('2026-11-24T12:00:00Z', { succeededCount: '10', warnedCount: '2', failedCount: '1' }), of('2026-11-25T12:00:00Z')])
    expect(found.map((night) => [night.succeeded, night.warned, night.failed])).toEqual([[0, 0, 0], [8, 2, 1]])
    expect(nightsOf([of('2026-11-24T12:00:00Z'), of('2026-11-25T12:00:00Z')])).toHaveLength(1)
  })
})
