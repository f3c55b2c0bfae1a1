import { describe, expect, it } from 'vitest'
import { entriesOf, found, parentOf } from './file_tree'
import { defaultName, emptyPlan, lossInPlace, problemsOf, reachable, restoreJob, stepAfter, stepBefore } from './wizard'

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
    expect(problemsOf('what', plan, { deleteTime: '2026-11-26T00:00:00Z' }).point).toContain('bring it back')
    expect(problemsOf('what', { ...plan, path: 'data' }, { fileSet: 'hosts/h/fileSets/shop' }).path).toContain('whole path')
    expect(problemsOf('where', plan, { fileSet: 'hosts/h/fileSets/shop' }).folder).toContain('folder that gets')
    expect(problemsOf('where', { ...plan, displayName: 'a/b' }, point).displayName).toBeTruthy()
  })
  it('takes whole paths of both kinds of host', () => {
    expect(problemsOf('where', { ...plan, folder: '/srv/images' }, point)).toEqual({})
    expect(problemsOf('where', { ...plan, folder: 'D:\\VMs' }, point)).toEqual({})
    expect(problemsOf('where', { ...plan, displayName: ' x' }, point).displayName).toBeTruthy()
  })
  it('asks for a new machine unless told otherwise', () => {
    expect(restoreJob({ ...plan, host: 'hosts/h2', displayName: 'm', powerOn: true })).toEqual({
      restore: { recoveryPoint: 'recoveryPoints/p', mode: 'MODE_NEW', targetHost: 'hosts/h2', displayName: 'm', targetFolder: '', powerOn: true },
    })
    expect(defaultName(point)).toBe('mail01-restored')
  })
  it('asks for a restore in place without what belongs to a new machine', () => {
    const inPlace = { ...plan, mode: 'inPlace' as const, powerOn: true, takeClusterOffline: true, displayName: 'x', host: 'hosts/other' }
    expect(restoreJob(inPlace, point)).toEqual({
      restore: { recoveryPoint: 'recoveryPoints/p', mode: 'MODE_IN_PLACE', targetFolder: '', powerOn: true, resumeState: false, takeClusterOffline: true },
    })
    expect(restoreJob({ ...inPlace, resumeState: true }, point).restore).toMatchObject({ resumeState: true, powerOn: false })
  })
  it('asks for files with what belongs to them alone', () => {
    expect(restoreJob({ ...plan, folder: '/srv/back', path: '/srv/shop/a', overwrite: true, powerOn: true }, { fileSet: 'hosts/h/fileSets/shop' })).toEqual({
      restore: { recoveryPoint: 'recoveryPoints/p', mode: 'MODE_NEW', targetHost: '', targetFolder: '/srv/back', path: '/srv/shop/a', overwrite: true },
    })
  })
})

describe('what a restore in place takes away', () => {
  const held = { name: 'recoveryPoints/p', disks: [{ name: 'vda' }] }
  it('is nothing of a machine that is gone', () => expect(lossInPlace(held, undefined)).toEqual({ replaces: false, checkpoints: [], disks: [], cluster: '', newerPoint: false }))
  it('is named in full', () => {
    const machine = {
      disks: [{ name: 'vda' }, { name: 'vdb' }], excludedDisks: [{ name: 'vdc' }], lastRecoveryPoint: 'recoveryPoints/q', clusterResource: { resource: 'vm-mail', state: 'online' },
      checkpoints: [{ name: 'before-update', kind: 'KIND_INTERNAL' as const }, { name: 'kept', kind: 'KIND_EXTERNAL' as const }],
    }
    expect(lossInPlace(held, machine)).toEqual({ replaces: true, checkpoints: ['before-update'], disks: ['vdb', 'vdc'], cluster: 'vm-mail', newerPoint: true })
    expect(lossInPlace(held, { ...machine, lastRecoveryPoint: 'recoveryPoints/p', clusterResource: { resource: 'vm-mail', state: 'offline' } })).toMatchObject({ cluster: '', newerPoint: false })
  })
})

describe('files of a recovery point', () => {
  const file = (path: string, type: 'TYPE_FILE' | 'TYPE_FOLDER' = 'TYPE_FILE') => ({ path, type })
  const files = [file('/srv/shop', 'TYPE_FOLDER'), file('/srv/shop/data', 'TYPE_FOLDER'), file('/srv/shop/data/b.db'), file('/srv/shop/data/a.db'), file('/srv/shop/readme'), file('/etc/shop', 'TYPE_FOLDER'), file('/etc/shop/conf')]
  it('begin with the folders that were backed up', () => expect(entriesOf(files, '').map((entry) => entry.path)).toEqual(['/etc/shop', '/srv/shop']))
  it('are shown folder by folder, folders first', () => {
    expect(entriesOf(files, '/srv/shop').map((entry) => entry.name)).toEqual(['data', 'readme'])
    expect(entriesOf(files, '/srv/shop/data').map((entry) => entry.name)).toEqual(['a.db', 'b.db'])
    expect(parentOf('/srv')).toBe('')
  })
  it('are found in all folders', () => expect(found(files, 'SHOP/DATA/').map((entry) => entry.name)).toEqual(['a.db', 'b.db']))
})
