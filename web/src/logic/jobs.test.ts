import { describe, expect, it } from 'vitest'
import type { Job } from '../api/client'
import { cancelLoss, diskRates, elapsedSeconds, etaSeconds, kindOf, phaseSteps, stateOf } from './jobs'

const running: Job = { backup: {}, state: 'STATE_RUNNING', phase: 'PHASE_TRANSFERRING', startTime: '2026-11-26T12:00:00Z' }

describe('phases', () => {
  it('are done before the present one and to come after it', () => {
    expect(phaseSteps(running).map((step) => step.standing)).toEqual(['done', 'done', 'done', 'done', 'now', 'ahead'])
  })
  it('of a restore have no freeze', () => {
    expect(phaseSteps({ restore: {}, state: 'STATE_RUNNING', phase: 'PHASE_PREPARING' }).map((step) => step.label)).toEqual(['Gather', 'Prepare', 'Transfer', 'Complete'])
  })
  it('show where a failure was', () => {
    expect(phaseSteps({ ...running, state: 'STATE_FAILED', phase: 'PHASE_FREEZING' })[2]).toEqual({ label: 'Freeze', standing: 'stopped' })
  })
  it('are all done after a success, and all to come before the beginning', () => {
    expect(new Set(phaseSteps({ ...running, state: 'STATE_SUCCEEDED', phase: 'PHASE_UNSPECIFIED' }).map((step) => step.standing))).toEqual(new Set(['done']))
    expect(new Set(phaseSteps({ backup: {}, state: 'STATE_QUEUED', phase: 'PHASE_UNSPECIFIED' }).map((step) => step.standing))).toEqual(new Set(['ahead']))
  })
  it('are none for the daemon’s own work', () => expect(phaseSteps({ prune: {} })).toEqual([]))
})

describe('time', () => {
  it('to the end is what the agent says, else the rest at the present rate', () => {
    expect(etaSeconds({ ...running, progress: { eta: '12s', rateBytesPerSecond: '1', totalBytes: '100' } })).toBe(12)
    expect(etaSeconds({ ...running, progress: { doneBytes: '40', totalBytes: '100', rateBytesPerSecond: '20' } })).toBe(3)
    expect(etaSeconds({ ...running, progress: { doneBytes: '40', totalBytes: '100' } })).toBeUndefined()
    expect(etaSeconds({ ...running, state: 'STATE_SUCCEEDED', progress: { eta: '12s' } })).toBeUndefined()
  })
  it('that passed ends with the job', () => {
    expect(elapsedSeconds(running, Date.parse('2026-11-26T12:00:30Z'))).toBe(30)
    expect(elapsedSeconds({ ...running, endTime: '2026-11-26T12:00:10Z' }, Date.parse('2026-11-26T13:00:00Z'))).toBe(10)
    expect(elapsedSeconds({ backup: {} }, 0)).toBeUndefined()
  })
})

describe('rates of disks', () => {
  const at = (done: string): Job => ({ ...running, progress: { disks: [{ virtualMachine: 'v', disk: 'vda', doneBytes: done }] } })
  it('come of two looks', () => {
    expect(diskRates(at('100'), at('300'), 2).get('v vda')).toBe(100)
    expect(diskRates(undefined, at('300'), 2).size).toBe(0)
    expect(diskRates(at('100'), at('300'), 0).size).toBe(0)
  })
  it('are never negative: another attempt begins from the start', () => expect(diskRates(at('300'), at('0'), 1).get('v vda')).toBe(0))
})

describe('words', () => {
  it('of a success with warnings ask for a look', () => {
    expect(stateOf({ state: 'STATE_SUCCEEDED', warnings: [{ reason: 'X' }] }).tone).toBe('warn')
    expect(stateOf({ state: 'STATE_SUCCEEDED' }).tone).toBe('good')
  })
  it('name each kind', () => expect([{ backup: {} }, { restore: {} }, { verify: {} }, { prune: {} }].map((job) => kindOf(job))).toEqual(['backup', 'restore', 'verify', 'prune']))
  it('of a cancel say what is lost', () => {
    expect(cancelLoss({ ...running, state: 'STATE_QUEUED' })).toContain('nothing is lost')
    expect(cancelLoss(running)).toContain('No recovery point')
    expect(cancelLoss({ restore: { mode: 'MODE_IN_PLACE' }, state: 'STATE_RUNNING' })).toContain('original machine may')
    expect(cancelLoss({ restore: { mode: 'MODE_NEW' }, state: 'STATE_RUNNING' })).toContain('stay as they are')
  })
})
