import { describe, expect, it } from 'vitest'
import { enrolCommand } from './enrol'
import { filterOf } from './filter'
import { can } from './permissions'
import { retentionWords, selectionWords } from './policies'

describe('the search', () => {
  it('looks for a part of the name', () => expect(filterOf(' mail ')).toBe('name="*mail*"'))
  it('takes expressions as they are', () => expect(filterOf('host=hv-3* and not label.env=test')).toBe('host=hv-3* and not label.env=test'))
  it('asks for everything when empty', () => expect(filterOf('  ')).toBe(''))
  it('can’t be led out of its quotes', () => expect(filterOf('a" or all "[b]')).toBe('name="*a? or all ??b?*"'))
})

describe('permissions', () => {
  const may = (...permissions: string[]) => ({ grants: [{ permissions }] })
  it('are held by name, by kind, or all', () => {
    expect(can(may('jobs.view'), 'jobs.view')).toBe(true)
    expect(can(may('jobs.*'), 'jobs.cancel')).toBe(true)
    expect(can(may('*'), 'users.manage')).toBe(true)
    expect(can(may('jobs.view'), 'jobs.cancel')).toBe(false)
    expect(can(undefined, 'jobs.view')).toBe(false)
  })
})

describe('the command that enrols', () => {
  it('has an address that can be reached', () => {
    expect(enrolCommand('t', 'backup.example:7441', 'here')).toBe("umbra-agent enrol --token 't' --daemon backup.example:7441")
    expect(enrolCommand('t', '0.0.0.0:7441', 'here')).toContain('--daemon here:7441')
    expect(enrolCommand('t', '[::]:7441', 'here')).toContain('--daemon here:7441')
  })
})

describe('policies', () => {
  it('say what they select', () => {
    expect(selectionWords({ expression: 'all', exclude: 'name=tmp*' })).toBe('every machine, but not “name=tmp*”')
    expect(selectionWords({ members: ['hosts/h/virtualMachines/a', 'hosts/h/virtualMachines/b'], hosts: ['hosts/x'] })).toBe('all of 1 host, 2 by name')
    expect(selectionWords(undefined)).toBe('nothing')
  })
  it('say what they keep', () => {
    expect(retentionWords({ daily: 14, weekly: 1, within: '604800s' })).toBe('one of each of 14 days, one of each of 1 week, all of the last 7 d')
    expect(retentionWords({})).toBe('everything')
  })
})
