// @vitest-environment jsdom
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { describe, expect, it } from 'vitest'
import { violations } from '../test/axe'
import { answers, asked, show, useFakeDaemon } from '../test/fake_daemon'
import JobPage from './job'

useFakeDaemon()

const failed = {
  name: 'jobs/j1', state: 'STATE_FAILED', createTime: '2026-11-26T01:00:00Z', startTime: '2026-11-26T01:00:00Z', endTime: '2026-11-26T01:00:09Z', error: { reason: 'HOST_OFFLINE', message: 'hv-1 went away' },
}
const backup = {
  ...failed, backup: { virtualMachines: ['hosts/h/virtualMachines/a'] }, freezeDuration: '0.143s', phase: 'PHASE_TRANSFERRING',
  phases: [
    { phase: 'PHASE_FREEZING', startTime: '2026-11-26T01:00:01.000Z', endTime: '2026-11-26T01:00:01.250Z' }, { phase: 'PHASE_TRANSFERRING', startTime: '2026-11-26T01:00:01.250Z', endTime: '2026-11-26T01:00:09Z' },
  ],
  progress: { disks: [{ virtualMachine: 'hosts/h/virtualMachines/a', disk: 'vda', doneBytes: '1', totalBytes: '2' }, { virtualMachine: 'hosts/h/virtualMachines/b', disk: 'vda', doneBytes: '1', totalBytes: '4' }] },
}

describe('the page of a job', () => {
  it('shows its phases in time, the freeze to the millisecond, and what to do about a failure', async () => {
    answers['GET /v1/jobs/j1'] = () => ({ body: backup })
    answers['GET /v1/events?'] = () => ({ body: { events: [{ sequence: '1', time: '2026-11-26T01:00:00Z', message: 'begun' }] } })
    show(<JobPage />, '/jobs/j1', '/jobs/:job')
    expect((await screen.findByRole('row', { name: /Freeze .* 250 ms/ })).textContent).toContain('Freeze')
    expect(screen.getByText('143 ms')).toBeTruthy()
    expect(screen.getByText(/Start umbra-agent there/)).toBeTruthy()
    expect(screen.getByRole('progressbar', { name: 'Progress of all disks of a' }).getAttribute('aria-valuenow')).toBe('50')
    await screen.findByText('begun')
    expect(await violations()).toEqual([])
  })
  it('shows the freeze window writer by writer', async () => {
    answers['GET /v1/jobs/j1'] = () => ({ body: { ...backup, writers: [
      { displayName: 'Microsoft Hyper-V VSS Writer', freezeTime: '2026-11-26T01:00:01.000Z', frozenTime: '2026-11-26T01:00:01.012Z', thawTime: '2026-11-26T01:00:01.140Z', thawedTime: '2026-11-26T01:00:01.143Z' },
      { displayName: 'File systems', virtualMachine: 'hosts/h/virtualMachines/a', freezeTime: '2026-11-26T01:00:01.002Z', thawTime: '2026-11-26T01:00:01.130Z', thawedTime: '2026-11-26T01:00:01.131Z', error: { reason: 'GUEST_FREEZE_TIMEOUT', message: 'the guest was slow' } },
    ] } })
    answers['GET /v1/events?'] = () => ({ body: {} })
    show(<JobPage />, '/jobs/j1', '/jobs/:job')
    const table = await screen.findByRole('table', { name: 'The freeze window, writer by writer' })
    expect(within(table).getByRole('row', { name: /Microsoft Hyper-V VSS Writer host .*12 ms 128 ms 3 ms/ })).toBeTruthy()
    expect(within(table).getByRole('row', { name: /File systems Failed: the guest was slow guest of .* not known not known 1 ms/ })).toBeTruthy()
    expect(await violations()).toEqual([])
  })
  it('does the same once more', async () => {
    answers['GET /v1/jobs/j1'] = () => ({ body: backup })
    answers['GET /v1/events?'] = () => ({ body: {} })
    answers['POST /v1/jobs?requestId='] = () => ({ body: { name: 'jobs/j2' } })
    show(<JobPage />, '/jobs/j1', '/jobs/:job')
    await userEvent.click(await screen.findByRole('button', { name: 'Try again' }))
    await waitFor(() => expect(asked.find((call) => call.method === 'POST')?.body).toEqual({ backup: { virtualMachines: ['hosts/h/virtualMachines/a'] } }))
  })
  it('asks before a restore in place is done again', async () => {
    answers['GET /v1/jobs/j1'] = () => ({ body: { ...failed, restore: { recoveryPoint: 'recoveryPoints/p', mode: 'MODE_IN_PLACE' } } })
    answers['GET /v1/events?'] = () => ({ body: {} })
    answers['POST /v1/jobs?requestId='] = () => ({ body: { name: 'jobs/j2' } })
    show(<JobPage />, '/jobs/j1', '/jobs/:job')
    await userEvent.click(await screen.findByRole('button', { name: 'Try again' }))
    expect((await screen.findByRole('dialog')).textContent).toContain('what was written to its disks since then is lost')
    expect(asked.some((call) => call.method === 'POST')).toBe(false)
    await userEvent.click(screen.getByRole('button', { name: 'Restore again' }))
    await waitFor(() => expect(asked.some((call) => call.method === 'POST')).toBe(true))
  })
})
