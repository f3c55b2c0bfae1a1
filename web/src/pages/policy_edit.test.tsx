// @vitest-environment jsdom
import { screen, waitFor } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { violations } from '../test/axe'
import { answers, asked, show, useFakeDaemon } from '../test/fake_daemon'
import Policies from './policies'
import PolicyEdit from './policy_edit'

useFakeDaemon()
// Some hundred names are slow to look through without a browser.
beforeEach(() => { vi.spyOn(Intl, 'supportedValuesOf').mockReturnValue(['Europe/Berlin']) })
afterEach(() => { vi.restoreAllMocks() })

const nightly = {
  name: 'policies/nightly', etag: '1', selection: { expression: 'all' }, schedules: ['daily at 22:00'], retention: { daily: 14 }, freezeTimeout: '10s', weight: 1, retry: { backoff: '600s' },
  updateTime: '2026-11-26T01:00:00Z',
}
const preview = {
  schedule: { runs: [{ dueTime: '2026-11-27T21:00:00Z', startTime: '2026-11-27T21:00:00Z' }], members: ['hosts/h/virtualMachines/a'], memberCount: '1', jobCount: '1' },
  memberDisplayNames: ['mail01'], expectedPoints: [{ pointTime: '2026-11-25T21:00:00Z', keptBy: ['daily 1 of 14 (2026-11-25)'] }],
}

describe('the editor of policies', () => {
  it('shows what a new policy would do before it is made, and makes it', async () => {
    answers['POST /v1/policies:preview'] = () => ({ body: preview })
    answers['POST /v1/policies?'] = () => ({ body: { name: 'policies/all' } })
    show(<PolicyEdit />, '/policies/new', '/policies/new')
    await screen.findByText('1 machine or file set now, 1 job each run')
    expect(screen.getByText('mail01')).toBeTruthy()
    expect(screen.getByRole('figure', { name: /What is kept: 1 point: 1 daily/ })).toBeTruthy()
    expect(await violations()).toEqual([])
    const save = screen.getByRole('button', { name: 'Make the policy' })
    expect(save).toHaveProperty('disabled', true)
    await userEvent.type(screen.getByRole('textbox', { name: /^Name/ }), 'all')
    await userEvent.click(save)
    await waitFor(() => expect(asked.find((call) => call.path === '/v1/policies?policyId=all')?.body).toMatchObject({ selection: { expression: 'all' }, schedules: ['daily at 22:00'] }))
  })
  it('takes machines, file sets and hosts by name, and schedules as people choose them', async () => {
    answers['POST /v1/policies:preview'] = () => ({ body: preview })
    answers['GET /v1/hosts/-/virtualMachines'] = () => ({ body: { virtualMachines: [{ name: 'hosts/h/virtualMachines/a', displayName: 'shop01' }] } })
    answers['GET /v1/hosts/h/virtualMachines/a'] = () => ({ body: { displayName: 'shop01' } })
    answers['GET /v1/hosts/-/fileSets'] = () => ({ body: { fileSets: [{ name: 'hosts/h/fileSets/shop' }] } })
    answers['GET /v1/hosts?'] = () => ({ body: { hosts: [{ name: 'hosts/h', displayName: 'hv-1' }] } })
    show(<PolicyEdit />, '/policies/new', '/policies/new')
    await userEvent.click(screen.getByText('Single machines, file sets and whole hosts'))
    await userEvent.type(screen.getByLabelText('Machines and file sets by name'), 'shop')
    await userEvent.click(await screen.findByRole('button', { name: 'Add shop01' }))
    await userEvent.type(screen.getByLabelText('Machines and file sets by name'), 'shop')
    await userEvent.click(await screen.findByRole('button', { name: /Add shop.*file set/ }))
    await userEvent.type(screen.getByLabelText('All machines of these hosts'), 'hv')
    await userEvent.click(await screen.findByRole('button', { name: 'Add hv-1' }))
    await userEvent.selectOptions(screen.getByLabelText('How often, schedule 1'), 'weekly')
    await userEvent.click(screen.getByRole('checkbox', { name: 'Wednesday' }))
    expect(screen.getByText('Runs every Wednesday and Sunday at 22:00.')).toBeTruthy()
    await userEvent.click(screen.getByRole('button', { name: 'Add another schedule' }))
    await userEvent.selectOptions(screen.getByLabelText('How often, schedule 2'), 'every')
    await waitFor(() => expect(asked.filter((call) => call.path === '/v1/policies:preview').at(-1)?.body).toMatchObject({ policy: {
      selection: { members: ['hosts/h/virtualMachines/a', 'hosts/h/fileSets/shop'], hosts: ['hosts/h'] }, schedules: ['weekly on wed,sun at 22:00', 'every 4 hours'],
    } }))
    await userEvent.click(screen.getByRole('button', { name: 'Remove schedule 1' }))
    await userEvent.click(screen.getAllByRole('button', { name: 'Take it out' })[0]!)
    await waitFor(() => expect(asked.filter((call) => call.path === '/v1/policies:preview').at(-1)?.body).toMatchObject({ policy: {
      selection: { members: ['hosts/h/fileSets/shop'] }, schedules: ['every 4 hours'],
    } }))
  })
  it('shows a refusal at its field', async () => {
    answers['POST /v1/policies:preview'] = () => ({ status: 400, body: { status: 400, reason: 'INVALID_SELECTION', detail: 'expression "name", character 5: "=" is expected' } })
    show(<PolicyEdit />, '/policies/new', '/policies/new')
    const field = screen.getByLabelText('Machines that fit')
    await userEvent.clear(field)
    await userEvent.type(field, 'name')
    await waitFor(() => expect(field.getAttribute('aria-invalid')).toBe('true'))
    expect(screen.getByText(/character 5/)).toBeTruthy()
  })
  it('says which points other rules take away, and asks before it saves them', async () => {
    answers['GET /v1/policies/nightly:previewRetention'] = () => ({ body: { verdicts: [
      { recoveryPoint: 'recoveryPoints/1', member: 'hosts/h/virtualMachines/a', displayName: 'mail01', pointTime: '2026-11-25T21:00:00Z', keptBy: ['nightly: daily 1 of 1'] },
      { recoveryPoint: 'recoveryPoints/2', member: 'hosts/h/virtualMachines/a', displayName: 'mail01', pointTime: '2026-11-24T21:00:00Z' },
    ] } })
    answers['GET /v1/policies/nightly'] = () => ({ body: { ...nightly, etag: asked.some((call) => call.method === 'PATCH') ? '2' : '1' } })
    answers['POST /v1/policies:preview'] = () => ({ body: preview })
    answers['PATCH /v1/policies/nightly'] = () => ({ body: { ...nightly, etag: '2' } })
    show(<PolicyEdit />, '/policies/nightly/edit', '/policies/:policy/edit')
    const days = await screen.findByLabelText('Days')
    await userEvent.clear(days)
    await userEvent.type(days, '1')
    await screen.findByText('1 recovery point of 1 machine would go, of 2 in all')
    expect(asked.some((call) => call.path.includes('retention.daily=1'))).toBe(true)
    await userEvent.click(screen.getByRole('button', { name: 'Save the changes' }))
    expect(asked.some((call) => call.method === 'PATCH')).toBe(false)
    const dialog = await screen.findByRole('dialog')
    expect(dialog.textContent).toContain('mail01: 1 of 2')
    expect(await violations()).toEqual([])
    await userEvent.click(screen.getAllByRole('button', { name: 'Save the changes' }).at(-1)!)
    await waitFor(() => expect(asked.find((call) => call.method === 'PATCH')?.body).toMatchObject({ etag: '1', retention: { daily: 1 } }))
    // One's own change is nobody else's.
    await screen.findByText('another page')
  })
  it('tells plainly that somebody else changed it, and saves over that only when told to', async () => {
    let etag = '1'
    answers['GET /v1/policies/nightly'] = () => ({ body: { ...nightly, etag, ...(etag === '2' ? { description: 'theirs' } : {}) } })
    answers['POST /v1/policies:preview'] = () => ({ body: preview })
    answers['PATCH /v1/policies/nightly'] = () => (asked.at(-1)?.body as { etag: string }).etag === '1'
      ? { status: 409, body: { status: 409, reason: 'POLICY_CHANGED', detail: 'policy nightly was changed since it was read' } } : { body: nightly }
    show(<PolicyEdit />, '/policies/nightly/edit', '/policies/:policy/edit')
    await userEvent.type(await screen.findByLabelText('But not'), 'name=x')
    etag = '2'
    await userEvent.click(screen.getByRole('button', { name: 'Save the changes' }))
    await screen.findByText('Somebody else changed this policy meanwhile')
    await userEvent.click(screen.getByRole('button', { name: 'Save mine, and undo theirs (description)' }))
    await waitFor(() => expect(asked.filter((call) => call.method === 'PATCH').at(-1)?.body).toMatchObject({ etag: '2', selection: { exclude: 'name=x' } }))
  })
})

describe('the list of policies', () => {
  it('says what is lost before it deletes one, and deletes only what was seen', async () => {
    answers['GET /v1/policies'] = () => ({ body: { policies: [nightly] } })
    answers['GET /v1/policies/nightly:previewSchedule'] = () => ({ body: { runs: [], memberCount: '3', jobCount: '3' } })
    answers['POST /v1/policies:preview'] = () => ({ body: preview })
    answers['DELETE /v1/policies/nightly'] = () => ({ body: {} })
    show(<Policies />, '/policies?policy=nightly', '/policies')
    await screen.findByRole('figure', { name: /What is kept/ })
    expect(screen.getByText('every day at 22:00')).toBeTruthy()
    expect(await violations()).toEqual([])
    await userEvent.click(screen.getByRole('button', { name: 'Delete' }))
    await screen.findByText(/It selects 3 machines and file sets now: those that no other policy selects get no new recovery points/)
    await userEvent.click(screen.getByRole('button', { name: 'Delete it' }))
    await waitFor(() => expect(asked.find((call) => call.method === 'DELETE')?.path).toBe('/v1/policies/nightly?etag=1'))
  })
})
