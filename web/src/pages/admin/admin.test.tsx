// @vitest-environment jsdom
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { describe, expect, it, vi } from 'vitest'
import { violations } from '../../test/axe'
import { answers, asked, show, useFakeDaemon } from '../../test/fake_daemon'

useFakeDaemon()

// jsdom measures nothing, so a virtual table shows no row by itself.
vi.mock('@tanstack/react-virtual', () => ({
  useVirtualizer: ({ count, getItemKey }: { count: number; getItemKey: (index: number) => string }) => ({
    getVirtualItems: () => Array.from({ length: count }, (_, index) => ({ index, key: getItemKey(index), start: index * 44 })), getTotalSize: () => count * 44,
  }),
}))

const ROLES = { roles: [{ name: 'roles/viewer', builtIn: true, permissions: ['jobs.view'] }, { name: 'roles/night', description: 'nights', permissions: ['jobs.*'], etag: 'r1' }] }

describe('the sections', () => {
  it('are those that one may see', async () => {
    const { sectionsOf } = await import('./admin')
    expect(sectionsOf({ grants: [{ permissions: ['*'] }] })).toEqual(['account', 'users', 'roles', 'tokens', 'audit', 'notifications', 'daemon'])
    expect(sectionsOf({ grants: [{ permissions: ['*'], scope: { labels: ['a=b'] } }] })).toEqual(['account', 'roles'])
  })
})

describe('users', () => {
  it('are added with a grant for a part', async () => {
    answers['GET /v1/users'] = () => ({ body: { users: [{ name: 'users/admin', grants: [{ role: 'roles/admin' }] }] } })
    answers['GET /v1/roles'] = () => ({ body: ROLES })
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [{ name: 'hosts/h1', displayName: 'hv-1' }] } })
    answers['GET /v1/policies'] = () => ({ body: { policies: [] } })
    answers['POST /v1/users'] = () => ({ body: { name: 'users/eva' } })
    const { default: Users } = await import('./users')
    show(<Users />, '/admin/users', '/admin/users')
    await userEvent.click(await screen.findByRole('button', { name: 'Add a user' }))
    const dialog = within(await screen.findByRole('dialog'))
    await userEvent.type(dialog.getByLabelText('User'), 'eva')
    await userEvent.type(dialog.getByLabelText('Password', { selector: 'input' }), 'long enough to be one')
    await userEvent.click(dialog.getByLabelText(/Only for some hosts/))
    await dialog.findByText(/Say what viewer is limited to/)
    expect(await violations()).toEqual([])
    expect(dialog.getByRole('button', { name: 'Add' })).toHaveProperty('disabled', true)
    await userEvent.selectOptions(dialog.getByLabelText('A host'), 'hv-1')
    await userEvent.click(dialog.getByRole('button', { name: 'Add' }))
    await screen.findByText('another page')
    expect(asked.find((call) => call.method === 'POST')?.body).toEqual({
      user: { name: 'users/eva', displayName: '', grants: [{ role: 'roles/viewer', scope: { hosts: ['hosts/h1'] } }] }, password: 'long enough to be one' })
  })
  it('are deleted after it was said what ends with them', async () => {
    answers['GET /v1/users/eva'] = () => ({ body: { name: 'users/eva', etag: 'u1', grants: [] } })
    answers['GET /v1/users/eva/tokens'] = () => ({ body: { tokens: [{ name: 'users/eva/tokens/t', displayName: 'ci' }] } })
    answers['GET /v1/users/eva/sessions'] = () => ({ body: { sessions: [] } })
    answers['DELETE /v1/users/eva'] = () => ({ body: {} })
    const { default: UserPage } = await import('./user')
    show(<UserPage />, '/admin/users/eva', '/admin/users/:user')
    await screen.findByText('ci')
    expect(await violations()).toEqual([])
    await userEvent.click(await screen.findByRole('button', { name: 'Delete' }))
    const dialog = await screen.findByRole('dialog')
    expect(dialog.textContent).toContain('1 token and 0 sessions end for good')
    await userEvent.click(within(dialog).getByRole('button', { name: 'Delete the user' }))
    await screen.findByText('another page')
    expect(asked.find((call) => call.method === 'DELETE')?.path).toBe('/v1/users/eva?etag=u1')
  })
})

describe('roles', () => {
  it('are made of the permissions that there are', async () => {
    answers['GET /v1/roles'] = () => ({ body: ROLES })
    answers['GET /v1/permissions'] = () => ({ body: { permissions: [{ id: 'jobs.view', description: 'see jobs' }, { id: 'jobs.cancel' }, { id: 'hosts.view' }] } })
    answers['POST /v1/roles'] = () => ({ body: {} })
    const { default: Roles } = await import('./roles')
    show(<Roles />)
    await screen.findByText('Built in')
    await userEvent.click(screen.getByRole('button', { name: 'Make a role' }))
    const dialog = within(await screen.findByRole('dialog'))
    await userEvent.type(dialog.getByLabelText('Name'), 'night')
    await userEvent.click(await dialog.findByLabelText('jobs.view'))
    await userEvent.click(dialog.getByLabelText('hosts.view'))
    expect(await violations()).toEqual([])
    await userEvent.click(dialog.getByRole('button', { name: 'Make it' }))
    await waitFor(() => expect(asked.find((call) => call.method === 'POST')?.body).toEqual({ name: 'roles/night', description: '', permissions: ['jobs.view', 'hosts.view'] }))
  })
  it('that are built in can’t be changed', async () => {
    answers['GET /v1/roles'] = () => ({ body: ROLES })
    const { default: Roles } = await import('./roles')
    show(<Roles />)
    await screen.findByRole('button', { name: 'Change night' })
    expect(screen.queryByRole('button', { name: 'Change viewer' })).toBeNull()
  })
})

describe('tokens', () => {
  it('show their secret once', async () => {
    answers['GET /v1/users/me/tokens'] = () => ({ body: { tokens: [] } })
    answers['GET /v1/roles'] = () => ({ body: ROLES })
    answers['POST /v1/users/me/tokens'] = () => ({ body: { token: { expireTime: '2027-01-01T00:00:00Z' }, secret: 'umbra_secret' } })
    const { TokenList } = await import('./parts')
    show(<TokenList user="me" manage />)
    await userEvent.click(await screen.findByRole('button', { name: 'Make a token' }))
    await userEvent.type(await screen.findByLabelText('What it is for'), 'ci')
    await userEvent.click(screen.getByRole('button', { name: 'Make it' }))
    await screen.findByText('umbra_secret')
    expect(await violations()).toEqual([])
    expect(screen.getByRole('button', { name: 'Copy the token' })).toBeTruthy()
    await userEvent.click(screen.getByRole('button', { name: 'Done' }))
    expect(screen.queryByText('umbra_secret')).toBeNull()
  })
})

describe('the audit log', () => {
  it('is filtered by the daemon', async () => {
    answers['GET /v1/auditEntries'] = () => ({ body: { entries: [{ number: '7', principal: 'users/eva', method: 'umbra.v1.JobService/CreateJob', code: 'PERMISSION_DENIED', reason: 'PERMISSION_DENIED', request: '{"job":{}}' }] } })
    const { default: Audit } = await import('./audit')
    show(<Audit />, '/admin/audit?principal=users/eva')
    await screen.findByText('JobService.CreateJob')
    expect(await violations()).toEqual([])
    expect(asked.find((call) => call.path.includes('auditEntries'))?.path).toContain('principal=users%2Feva')
    await userEvent.click(screen.getByLabelText('Only what was refused or failed'))
    await waitFor(() => expect(asked.at(-1)?.path).toContain('failuresOnly=true'))
    await userEvent.click(await screen.findByRole('button', { name: 'Show entry 7' }))
    expect((await screen.findByRole('dialog')).textContent).toContain('"job": {}')
  })
  it('is checked, and says where it is broken', async () => {
    answers['GET /v1/auditEntries'] = () => ({ body: { entries: [] } })
    answers['GET /v1/auditEntries:verify'] = () => ({ body: { entryCount: '9', firstBroken: '4', problem: 'an entry is missing.' } })
    const { default: Audit } = await import('./audit')
    show(<Audit />)
    await userEvent.click(await screen.findByRole('button', { name: 'Check the log…' }))
    await userEvent.click(await screen.findByRole('button', { name: 'Check' }))
    await screen.findByText('The log is not whole, from entry 4 on')
  })
})

describe('channels', () => {
  const CHANNEL = { name: 'notificationChannels/ops', webhook: { url: 'https://example.org/x' }, waitingCount: '2', etag: 'c1' }
  it('are tested, and say why it went wrong', async () => {
    answers['GET /v1/notificationChannels'] = () => ({ body: { notificationChannels: [CHANNEL] } })
    answers['GET /v1/notificationChannels/-/notifications'] = () => ({ body: { notifications: [] } })
    answers['POST /v1/notificationChannels/ops:test'] = () => ({ body: { name: 'notificationChannels/ops/notifications/n', state: 'STATE_QUEUED' } })
    answers['GET /v1/notificationChannels/ops/notifications/n'] = () => ({ body: { state: 'STATE_QUEUED', attempts: 1, errorReason: 'X', errorMessage: 'refused by the server' } })
    const { default: Channels } = await import('./channels')
    show(<Channels />)
    await userEvent.click(await screen.findByRole('button', { name: 'Test ops' }))
    await userEvent.click(await screen.findByRole('button', { name: 'Send a test message' }))
    await screen.findByText(/refused by the server/)
  })
  it('are deleted after it was said what is lost', async () => {
    answers['GET /v1/notificationChannels'] = () => ({ body: { notificationChannels: [CHANNEL] } })
    answers['GET /v1/notificationChannels/-/notifications'] = () => ({ body: { notifications: [] } })
    const { default: Channels } = await import('./channels')
    show(<Channels />)
    await userEvent.click(await screen.findByRole('button', { name: 'Delete ops' }))
    expect((await screen.findByRole('dialog')).textContent).toContain('2 notices that wait for the next message are lost')
  })
  it('are added as mail', async () => {
    answers['GET /v1/notificationChannels'] = () => ({ body: { notificationChannels: [] } })
    answers['GET /v1/notificationChannels/-/notifications'] = () => ({ body: { notifications: [] } })
    answers['POST /v1/notificationChannels'] = () => ({ body: {} })
    const { default: Channels } = await import('./channels')
    show(<Channels />)
    await userEvent.click(await screen.findByRole('button', { name: 'Add a channel' }))
    const dialog = within(await screen.findByRole('dialog'))
    await userEvent.type(dialog.getByLabelText('Name'), 'ops')
    await userEvent.type(dialog.getByLabelText('Mail server'), 'mail.example.org')
    await userEvent.type(dialog.getByLabelText('Sender'), 'umbra@example.org')
    await userEvent.type(dialog.getByLabelText('To'), 'ops@example.org')
    expect(await violations()).toEqual([])
    await userEvent.click(dialog.getByRole('button', { name: 'Add' }))
    await waitFor(() => expect(asked.find((call) => call.method === 'POST')?.path).toBe('/v1/notificationChannels?notificationChannelId=ops'))
    expect(asked.find((call) => call.method === 'POST')?.body).toMatchObject({ smtp: { host: 'mail.example.org', to: ['ops@example.org'] }, topics: [] })
  })
})

describe('the daemon’s page', () => {
  it('changes the log level, copies and checks the catalog', async () => {
    answers['GET /openapi.json'] = () => ({ body: { info: { version: '0.1.0' } } })
    answers['GET /v1/logging'] = () => ({ body: { level: 'info' } })
    answers['POST /v1/logging:setLevel'] = () => ({ body: { level: 'debug' } })
    answers['GET /v1/catalog'] = () => ({ body: { location: '/c.db', sizeBytes: '2048', repositories: [{ repository: 'repositories/main', copies: [], errorReason: 'NO_SPACE', errorMessage: 'full' }] } })
    answers['POST /v1/catalog:check'] = () => ({ body: { sizeBytes: '2048' } })
    answers['POST /v1/catalog:backUp'] = () => ({ body: { catalog: { location: '/c.db', repositories: [{ repository: 'repositories/main', copies: [{ id: 'copy1', storedBytes: '5' }] }] } } })
    const { default: DaemonPage } = await import('./daemon')
    show(<DaemonPage />)
    await screen.findByText('0.1.0')
    await screen.findByText(/full \(NO_SPACE\)/)
    await userEvent.selectOptions(await screen.findByLabelText('Log level'), 'debug')
    await waitFor(() => expect(screen.getByLabelText('Log level')).toHaveProperty('value', 'debug'))
    await userEvent.click(screen.getByRole('button', { name: 'Check it' }))
    await screen.findByText('The catalog is sound')
    await userEvent.click(screen.getByRole('button', { name: 'Copy it now' }))
    await screen.findByText('copy1')
    expect(await violations()).toEqual([])
  })
})
