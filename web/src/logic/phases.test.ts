import { describe, expect, it } from 'vitest'
import type { Job } from '../api/client'
import { clock } from './format'
import { againLoses, freezeWindow, machineProgress, phaseBars, precise, specOf, writerBars } from './phases'

const at = (ms: number) => new Date(1_790_000_000_000 + ms).toISOString()
const NOW = 1_790_000_000_000 + 10_000

describe('phases in time', () => {
  const job: Job = {
    backup: {}, state: 'STATE_RUNNING',
    phases: [
      { phase: 'PHASE_GATHERING', startTime: at(0), endTime: at(1000) }, { phase: 'PHASE_FREEZING', startTime: at(1000), endTime: at(1143) },
      { phase: 'PHASE_TRANSFERRING', startTime: at(1143) },
    ],
  }
  it('lie on one line, from the first to now', () => {
    const bars = phaseBars(job, NOW)
    expect(bars.map((bar) => [bar.label, bar.seconds, bar.still])).toEqual([['Gather', 1, false], ['Freeze', 0.143, true], ['Transfer', undefined, false]])
    expect(bars[1]?.left).toBeCloseTo(0.1)
    expect(bars[1]?.width).toBeCloseTo(0.0143)
    expect((bars[2]?.left ?? 0) + (bars[2]?.width ?? 0)).toBeCloseTo(1)
  })
  it('that came twice stand there twice', () => {
    expect(phaseBars({ ...job, phases: [...(job.phases ?? []), { phase: 'PHASE_FREEZING', startTime: at(5000), endTime: at(5200) }] }, NOW).filter((bar) => bar.still)).toHaveLength(2)
  })
  it('of a job that ended go no further than its end', () => {
    expect(phaseBars({ ...job, state: 'STATE_FAILED', endTime: at(2143) }, NOW).at(-1)?.seconds).toBe(1)
  })
  it('are none where none were kept', () => expect(phaseBars({ backup: {} }, NOW)).toEqual([]))
})

describe('short times', () => {
  it('are told to the millisecond', () => {
    expect(precise(0.1434)).toBe('143 ms')
    expect(precise(1.204)).toBe('1,204 ms')
    expect(precise(12.345)).toBe('12.345 s')
    expect(precise(10)).toBe('10 s')
    expect(precise(0.0001)).toBe('less than 1 ms')
    expect(precise(250)).toBe('4 min 10.0 s')
    expect(precise(7260)).toBe('2 h 1 min')
  })
  it('of day, too', () => expect(clock('2026-11-26T12:19:55.042Z', 'utc')).toBe('12:19:55.042'))
})

describe('the freeze window', () => {
  it('is seen beside what was allowed', () => {
    expect(freezeWindow({ backup: {}, freezeDuration: '0.5s' })).toEqual({ seconds: 0.5, limitSeconds: 10, share: 0.05 })
    expect(freezeWindow({ backup: { freezeTimeout: '2s' }, freezeDuration: '4s' })?.share).toBe(1)
    expect(freezeWindow({ backup: {} })).toBeUndefined()
    expect(freezeWindow({ restore: {}, freezeDuration: '4s' })).toBeUndefined()
  })
})

describe('the freeze window, writer by writer', () => {
  const job: Job = { writers: [
    { displayName: 'Hyper-V', freezeTime: '2026-11-26T01:00:01.000Z', frozenTime: '2026-11-26T01:00:01.010Z', thawTime: '2026-11-26T01:00:01.090Z', thawedTime: '2026-11-26T01:00:01.100Z' },
    { displayName: 'File systems', virtualMachine: 'hosts/h/virtualMachines/a', freezeTime: '2026-11-26T01:00:01.020250Z', frozenTime: '2026-11-26T01:00:01.020750Z', thawTime: '2026-11-26T01:00:01.070Z', thawedTime: '2026-11-26T01:00:01.080Z' },
  ] }
  it('says how long each took to freeze, stood still, and took to thaw', () => {
    const bars = writerBars(job)
    expect(bars.map((bar) => [bar.name, bar.machine])).toEqual([['Hyper-V', ''], ['File systems', 'hosts/h/virtualMachines/a']])
    expect(bars[0]?.still).toBeCloseTo(0.08)
    expect(bars[0]?.whole).toBeCloseTo(0.1)
    expect(bars[1]?.freezing).toBeCloseTo(0.0005, 6)
    expect(bars[1]?.thawing).toBeCloseTo(0.01)
    expect(bars[0]?.left).toBe(0)
    expect(bars[0]?.widths.reduce((sum, width) => sum + width, 0)).toBeCloseTo(1)
    expect(bars[1]?.left).toBeCloseTo(0.2025, 3)
    expect(bars[1]?.widths[1]).toBeCloseTo(0.4925, 3)
  })
  it('leaves open what a writer didn’t get to', () => {
    const [bar] = writerBars({ writers: [{ displayName: 'w', freezeTime: '2026-11-26T01:00:01Z', thawTime: '2026-11-26T01:00:03Z', thawedTime: '2026-11-26T01:00:03.500Z', error: { reason: 'GUEST_FREEZE_TIMEOUT' } }] })
    expect(bar?.freezing).toBeUndefined()
    expect(bar?.still).toBeUndefined()
    expect(bar?.whole).toBeCloseTo(2.5)
    expect(bar?.error?.reason).toBe('GUEST_FREEZE_TIMEOUT')
  })
  it('is none where none was told', () => expect(writerBars({ writers: [] })).toEqual([]))
})

describe('machines of a job', () => {
  it('have the sums of their disks', () => {
    const disk = (virtualMachine: string, name: string, doneBytes: string) => ({ virtualMachine, disk: name, doneBytes, totalBytes: '100' })
    const machines = machineProgress({ progress: { disks: [disk('a', 'vda', '10'), disk('b', 'vda', '20'), disk('a', 'vdb', '30')] } }, new Map([['a vda', 1], ['a vdb', 2]]))
    expect(machines.map((machine) => [machine.machine, machine.disks.length, machine.done, machine.total, machine.rate])).toEqual([['a', 2, 40, 200, 3], ['b', 1, 20, 100, 0]])
  })
})

describe('doing it again', () => {
  it('asks for the same as the first time, and nothing that came of it', () => {
    const made: Job = { name: 'jobs/1', state: 'STATE_FAILED', error: { reason: 'X' }, priority: 2, progress: {} }
    expect(specOf({ ...made, backup: { virtualMachines: ['a'] }, uploadBytesPerSecond: '7' })).toEqual({ backup: { virtualMachines: ['a'] }, priority: 2, retry: undefined, uploadBytesPerSecond: '7' })
    expect(specOf({ ...made, verify: { repository: 'r' } })).toEqual({ verify: { repository: 'r' }, priority: 2, retry: undefined })
    expect(specOf({ ...made, prune: { dryRun: true } }).prune).toEqual({ dryRun: true })
  })
  it('takes something away only in place, and where files give way', () => {
    expect(againLoses({ restore: { mode: 'MODE_IN_PLACE' } })).toBe(true)
    expect(againLoses({ restore: { mode: 'MODE_NEW', overwrite: true } })).toBe(true)
    expect(againLoses({ restore: { mode: 'MODE_NEW' } })).toBe(false)
    expect(againLoses({ backup: {} })).toBe(false)
  })
})
