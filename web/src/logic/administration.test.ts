// What the forms of the administration and of hosts send, and why they don't.
import { describe, expect, it } from 'vitest'
import { addressesOf, channelOf, formOf, formProblem, targetWords, topicWords } from './channels'
import { byKind, grantsProblem, grantWords, isLabel, methodOf, methodWords } from './grants'
import { findHosts, hostStanding } from './hosts'
import { canEverywhere } from './permissions'
import { asVssadmin, writerError, writerState } from './writers'

describe('grants', () => {
  const names = new Map([['hosts/h1', 'hv-1']])
  it('are told in words', () => {
    expect(grantWords({ role: 'roles/operator' }, names)).toBe('operator')
    expect(grantWords({ role: 'roles/viewer', scope: { hosts: ['hosts/h1', 'hosts/h2'], policies: ['policies/p'], labels: ['env=test'] } }, names))
      .toBe('viewer for host hv-1, host h2, policy p, label env=test')
  })
  it('aren’t sent when a limit without entries would let everything through', () => {
    expect(grantsProblem([{ role: 'roles/viewer' }])).toBe('')
    expect(grantsProblem([{ role: 'roles/viewer', scope: { labels: ['a=b'] } }])).toBe('')
    expect(grantsProblem([{ role: 'roles/viewer', scope: {} }])).toContain('viewer')
    expect(grantsProblem([{ role: '' }])).toContain('role')
  })
  it('have labels of a key and a value', () => {
    expect(['env=test', 'a.b/c-d=', 'e=x=y'].map(isLabel)).toEqual([true, true, true])
    expect(['env', '=x', 'A=b', 'a-=b', 'a="b"'].map(isLabel)).toEqual([false, false, false, false, false])
  })
  it('are for everything without a limit', () => {
    const of = (scope?: object) => ({ grants: [{ permissions: ['jobs.*'], ...(scope ? { scope } : {}) }] })
    expect(canEverywhere(of(), 'jobs.view')).toBe(true)
    expect(canEverywhere(of({ hosts: [], policies: [], labels: [] }), 'jobs.view')).toBe(true)
    expect(canEverywhere(of({ labels: ['a=b'] }), 'jobs.view')).toBe(false)
    expect(canEverywhere(of(), 'hosts.view')).toBe(false)
  })
  it('have permissions by kind', () => {
    expect(byKind([{ id: 'jobs.view' }, { id: 'hosts.view' }, { id: 'jobs.cancel' }]).map(([kind, held]) => [kind, held.length])).toEqual([['jobs', 2], ['hosts', 1]])
  })
})

describe('methods of the audit log', () => {
  it('are shown short, and asked for as the log has them', () => {
    expect(methodWords('umbra.v1.JobService/CreateJob')).toBe('JobService.CreateJob')
    expect(methodOf(' JobService.CreateJob ')).toBe('umbra.v1.JobService/CreateJob')
    expect(methodOf('umbra.v1.JobService/CreateJob')).toBe('umbra.v1.JobService/CreateJob')
  })
})

describe('a channel', () => {
  const mail = { ...formOf(undefined, 'Europe/Berlin'), id: 'ops', host: 'mail.example.org', from: 'umbra@example.org', to: 'a@example.org, b@example.org' }
  it('is sent as what it is', () => {
    expect(formProblem(mail)).toBe('')
    expect(channelOf(mail, undefined)).toEqual({
      description: '', smtp: { host: 'mail.example.org', port: 0, security: 'SECURITY_STARTTLS', username: '', secret: '', from: 'umbra@example.org', to: ['a@example.org', 'b@example.org'], certificateAuthority: '' },
      topics: [], digestSchedule: '', timeZone: 'Europe/Berlin', messagesPerHour: 0,
    })
    const hook = { ...mail, kind: 'webhook' as const, url: 'https://example.org/x', secret: 'key', everything: false, topics: ['NOTIFICATION_TOPIC_DAMAGE' as const], groupingMinutes: '5' }
    expect(channelOf(hook, 'e1')).toMatchObject({ webhook: { url: 'https://example.org/x', secret: 'key' }, topics: ['NOTIFICATION_TOPIC_DAMAGE'], groupingWindow: '300s', etag: 'e1' })
    expect(channelOf(hook, 'e1').smtp).toBeUndefined()
  })
  it('comes back into the form as it was', () => {
    const channel = { ...channelOf(mail, 'e1'), name: 'notificationChannels/ops' }
    expect(channelOf(formOf(channel, 'UTC'), 'e1')).toEqual(channelOf(mail, 'e1'))
    expect(formOf(channel, 'UTC').id).toBe('ops')
  })
  it('isn’t sent while something is missing', () => {
    expect(formProblem({ ...mail, id: '-x' })).toContain('name')
    expect(formProblem({ ...mail, to: ' ' })).toContain('address')
    expect(formProblem({ ...mail, username: 'u' })).toContain('password')
    expect(formProblem({ ...mail, everything: false })).toContain('at least one')
    expect(formProblem({ ...mail, kind: 'webhook', url: 'ftp://x' })).toContain('https://')
  })
  it('is told in words', () => {
    expect(targetWords({ smtp: { to: ['a@b', 'c@d'] } })).toBe('mail to a@b and 1 more')
    expect(targetWords({ webhook: { url: 'https://x' } })).toBe('POST to https://x')
    expect(topicWords([])).toBe('everything')
    expect(topicWords(['NOTIFICATION_TOPIC_DIGEST'])).toBe('The digest')
    expect(addressesOf('a@b;c@d\n e@f')).toEqual(['a@b', 'c@d', 'e@f'])
  })
})

describe('hosts', () => {
  const host = (displayName: string, more: object = {}) => ({ name: `hosts/${displayName}`, displayName, state: 'STATE_ONLINE' as const, ...more })
  it('stand as the worst that is known of them', () => {
    expect(hostStanding(host('a'))).toBe('online')
    expect(hostStanding(host('a', { state: 'STATE_OFFLINE', drained: true }))).toBe('offline')
    expect(hostStanding(host('a', { drained: true, hypervisorError: 'x' }))).toBe('trouble')
    expect(hostStanding(host('a', { drained: true }))).toBe('maintenance')
  })
  it('are found by name, label and version, in order of their numbers', () => {
    const all = [host('hv-10', { labels: { env: 'test' } }), host('hv-2', { agentVersion: '0.1.0', state: 'STATE_OFFLINE' })]
    expect(findHosts(all, '', '').map((found) => found.displayName)).toEqual(['hv-2', 'hv-10'])
    expect(findHosts(all, 'ENV=test', '').map((found) => found.displayName)).toEqual(['hv-10'])
    expect(findHosts(all, 'hv', 'offline').map((found) => found.displayName)).toEqual(['hv-2'])
  })
})

describe('writers', () => {
  const stable = { displayName: 'Microsoft Hyper-V VSS Writer', writerId: 'w', instanceId: 'i', state: 'STABLE', lastFailureCode: 0 }
  it('are as vssadmin says them', () => {
    expect(asVssadmin([stable])).toBe("Writer name: 'Microsoft Hyper-V VSS Writer'\n   Writer Id: {w}\n   Writer Instance Id: {i}\n   State: [1] Stable\n   Last error: No error")
  })
  it('tell what failed', () => {
    expect(writerState({ state: 'FAILED_AT_FREEZE' })).toEqual({ text: '[9] Failed at freeze', tone: 'bad' })
    expect(writerState({ state: 'WAITING_FOR_BACKUP_COMPLETE' }).tone).toBe('busy')
    expect(writerState({}).text).toBe('[0] Unknown')
    expect(writerError({ lastFailureCode: 0x800423f2, lastFailure: 'Timed out' })).toBe('Timed out (0x800423f2)')
  })
})
