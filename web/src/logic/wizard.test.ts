import { describe, expect, it } from 'vitest'
import { defaultName, emptyPlan, problemsOf, reachable, restoreJob, stepAfter, stepBefore } from './wizard'

const plan = emptyPlan('recoveryPoints/p')
const point = { virtualMachineDisplayName: 'mail01' }

describe('the restore wizard', () => {
  it('goes what, where, check', () => {
    expect(stepAfter('what')).toBe('where')
    expect(stepAfter('check')).toBeUndefined()
    expect(stepBefore('what')).toBeUndefined()
    expect(stepBefore('check')).toBe('where')
  })
  it('never leads past a step with a problem', () => {
    expect(reachable('check', plan, point)).toBe('check')
    expect(reachable('check', emptyPlan(), undefined)).toBe('what')
    expect(reachable('check', { ...plan, folder: 'images' }, point)).toBe('where')
    expect(reachable('what', { ...plan, folder: 'images' }, point)).toBe('what')
  })
  it('refuses what can’t be restored so', () => {
    expect(problemsOf('what', plan, { fileSet: 'hosts/h/fileSets/shop' }).point).toContain('file set')
    expect(problemsOf('what', plan, { deleteTime: '2026-11-26T00:00:00Z' }).point).toContain('undelete')
  })
  it('takes whole paths of both kinds of host', () => {
    expect(problemsOf('where', { ...plan, folder: '/srv/images' }, point)).toEqual({})
    expect(problemsOf('where', { ...plan, folder: 'D:\\VMs' }, point)).toEqual({})
    expect(problemsOf('where', { ...plan, displayName: ' x' }, point).displayName).toBeTruthy()
  })
  it('asks for a new machine, never in place', () => {
    expect(restoreJob({ ...plan, host: 'hosts/h2', displayName: 'm', powerOn: true })).toEqual({
      restore: { recoveryPoint: 'recoveryPoints/p', mode: 'MODE_NEW', targetHost: 'hosts/h2', displayName: 'm', targetFolder: '', powerOn: true },
    })
    expect(defaultName(point)).toBe('mail01-restored')
  })
})
