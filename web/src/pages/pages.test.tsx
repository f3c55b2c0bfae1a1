// @vitest-environment jsdom
import { screen, waitFor } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { describe, expect, it } from 'vitest'
import { violations } from '../test/axe'
import { answers, asked, show, useFakeDaemon } from '../test/fake_daemon'

useFakeDaemon()

describe('signing in', () => {
  it('sends user and password with the header, and tells a refusal in words that help', async () => {
    answers['POST /v1/sessions'] = () => ({ status: 401, body: { status: 401, detail: 'no', reason: 'UNAUTHENTICATED' } })
    const { SignIn } = await import('./sign_in')
    show(<SignIn />)
    await userEvent.type(screen.getByLabelText(/User/), 'eva')
    await userEvent.type(screen.getByLabelText(/Password/, { selector: 'input' }), 'secret')
    await userEvent.click(screen.getByRole('button', { name: 'Sign in' }))
    await waitFor(() => expect(screen.getByRole('alert').textContent).toContain('User or password is wrong.'))
    expect(asked[0]).toMatchObject({ method: 'POST', path: '/v1/sessions', body: { user: 'eva', password: 'secret' }, header: '1' })
  })
})

describe('the overview’s picture', () => {
  it('says in one sentence whether all is well', async () => {
    const { Picture } = await import('./overview')
    show(<Picture whole summary={{ total: 3, safe: 3, late: 0, unprotected: 0, never: 0, failing: 0, failingMachines: [] }} />)
    expect(screen.getByText('Yes: all 3 machines are protected.')).toBeTruthy()
  })
  it('leads to what is wrong', async () => {
    const { Picture } = await import('./overview')
    show(<Picture whole summary={{ total: 5, safe: 2, late: 1, unprotected: 1, never: 0, failing: 1, failingMachines: [{ machine: 'hosts/h/virtualMachines/v', job: 'jobs/j9', reason: 'X', message: 'the guest is slow' }] }} />)
    expect(screen.getByText('No: 3 machines of 5 need attention.')).toBeTruthy()
    expect(screen.getByText(/the guest is slow/)).toBeTruthy()
    expect(screen.getByRole('link', { name: 'What to do' }).getAttribute('href')).toBe('/jobs/j9')
    expect(screen.getByRole('link', { name: /Too old/ }).getAttribute('href')).toBe('/machines?show=late')
  })
  it('tells how to begin when there is nothing yet', async () => {
    const { Picture } = await import('./overview')
    show(<Picture whole summary={{ total: 0, safe: 0, late: 0, unprotected: 0, never: 0, failing: 0, failingMachines: [] }} />)
    expect(screen.getByRole('link', { name: 'Enrol a host' }).getAttribute('href')).toBe('/hosts?enrol=1')
  })
})

describe('restoring', () => {
  const point = { name: 'recoveryPoints/p', virtualMachine: 'hosts/h/virtualMachines/v', virtualMachineDisplayName: 'mail01', pointTime: '2026-11-26T01:00:00Z', disks: [{ name: 'vda', dataBytes: '1024' }] }
  it('is checked by the daemon before it can be run, and runs what was checked', async () => {
    answers['GET /v1/recoveryPoints/p'] = () => ({ body: point })
    answers['GET /v1/recoveryPoints?'] = () => ({ body: { recoveryPoints: [point] } })
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [{ name: 'hosts/h', displayName: 'hv-1', state: 'STATE_ONLINE' }] } })
    answers['POST /v1/jobs?validateOnly=true'] = () => ({ body: {} })
    answers['POST /v1/jobs?requestId='] = () => ({ body: { name: 'jobs/new' } })
    const { default: Restore } = await import('./restore')
    show(<Restore />, '/restore/p', '/restore/:point')
    await userEvent.click(await screen.findByRole('button', { name: /Next: where/ }))
    await userEvent.type(await screen.findByLabelText('Name of the new machine'), 'mail02')
    await userEvent.click(screen.getByRole('button', { name: /Next: check/ }))
    await screen.findByText('The daemon accepts it')
    expect(asked.some((call) => call.method === 'POST' && !call.path.includes('validateOnly'))).toBe(false)
    await userEvent.click(screen.getByRole('button', { name: 'Restore' }))
    await waitFor(() => expect(asked.at(-1)?.path).toMatch(/^\/v1\/jobs\?requestId=/))
    expect(asked.at(-1)?.body).toMatchObject({ restore: { mode: 'MODE_NEW', displayName: 'mail02', recoveryPoint: 'recoveryPoints/p' } })
  })
  it('can’t be run when the daemon refuses it, and says what to do', async () => {
    answers['GET /v1/recoveryPoints/p'] = () => ({ body: point })
    answers['GET /v1/recoveryPoints?'] = () => ({ body: { recoveryPoints: [point] } })
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [] } })
    answers['POST /v1/jobs'] = () => ({ status: 409, body: { status: 409, detail: 'the host is away', reason: 'HOST_OFFLINE', action: 'Start umbra-agent there, or wait.' } })
    const { default: Restore } = await import('./restore')
    show(<Restore />, '/restore/p', '/restore/:point')
    await userEvent.click(await screen.findByRole('button', { name: /Next: where/ }))
    await userEvent.click(await screen.findByRole('button', { name: /Next: check/ }))
    await screen.findByText('Start umbra-agent there, or wait.')
    expect(screen.getByRole('button', { name: 'Restore' })).toHaveProperty('disabled', true)
  })
  it('in place says what is lost, and waits until that is accepted', async () => {
    answers['GET /v1/recoveryPoints/p'] = () => ({ body: { ...point, memory: { sizeBytes: '100' } } })
    answers['GET /v1/recoveryPoints?'] = () => ({ body: { recoveryPoints: [point] } })
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [{ name: 'hosts/h', displayName: 'hv-1', state: 'STATE_ONLINE' }] } })
    answers['GET /v1/hosts/h/virtualMachines/v'] = () => ({ body: {
      name: 'hosts/h/virtualMachines/v', displayName: 'mail01', state: 'VIRTUAL_MACHINE_STATE_RUNNING', disks: [{ name: 'vda' }, { name: 'vdb' }],
      clusterResource: { resource: 'vm-mail', state: 'online' }, lastRecoveryPoint: 'recoveryPoints/p',
    } })
    answers['POST /v1/jobs?validateOnly=true'] = () => ({ body: {} })
    answers['POST /v1/jobs?requestId='] = () => ({ body: { name: 'jobs/new' } })
    const { default: Restore } = await import('./restore')
    show(<Restore />, '/restore/p', '/restore/:point')
    await userEvent.click(await screen.findByRole('button', { name: /Next: where/ }))
    await userEvent.click(await screen.findByLabelText('In place of the original'))
    await userEvent.click(await screen.findByLabelText(/Take vm-mail offline/))
    await userEvent.click(screen.getByLabelText('Go on from the saved memory'))
    await userEvent.click(screen.getByRole('button', { name: /Next: check/ }))
    await screen.findByText('The daemon accepts it')
    expect((await screen.findByText('What is lost of mail01')).parentElement?.textContent).toMatch(/no newer recovery point holds it.*running now.*vdb.*vm-mail is offline/)
    expect(screen.getByRole('button', { name: 'Restore' })).toHaveProperty('disabled', true)
    expect(await violations()).toEqual([])
    await userEvent.click(screen.getByLabelText(/Replace mail01/))
    await userEvent.click(screen.getByRole('button', { name: 'Restore' }))
    await waitFor(() => expect(asked.at(-1)?.path).toMatch(/^\/v1\/jobs\?requestId=/))
    expect(asked.at(-1)?.body).toEqual({ restore: { recoveryPoint: 'recoveryPoints/p', mode: 'MODE_IN_PLACE', targetFolder: '', powerOn: false, resumeState: true, takeClusterOffline: true } })
  })
  it('of files goes to a folder of one’s choice', async () => {
    answers['GET /v1/recoveryPoints/p'] = () => ({ body: { name: 'recoveryPoints/p', fileSet: 'hosts/h/fileSets/shop', virtualMachineDisplayName: 'shop', pointTime: '2026-11-26T01:00:00Z', files: { folders: ['/srv/shop'], dataBytes: '10' } } })
    answers['GET /v1/recoveryPoints?fileSet='] = () => ({ body: { recoveryPoints: [] } })
    answers['GET /v1/recoveryPoints/p/files'] = () => ({ body: { files: [{ path: '/srv/shop', type: 'TYPE_FOLDER' }, { path: '/srv/shop/a.db', type: 'TYPE_FILE', sizeBytes: '7' }] } })
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [{ name: 'hosts/h', displayName: 'hv-1', state: 'STATE_ONLINE' }] } })
    answers['POST /v1/jobs?validateOnly=true'] = () => ({ body: {} })
    const { default: Restore } = await import('./restore')
    show(<Restore />, '/restore/p', '/restore/:point')
    await screen.findByText(/1 entry here, of 2 files read/)
    expect(await violations()).toEqual([])
    await userEvent.type(await screen.findByLabelText('Only this file or folder'), '/srv/shop/a.db')
    await userEvent.click(screen.getByRole('button', { name: /Next: where/ }))
    const next = await screen.findByRole('button', { name: /Next: check/ })
    expect(next).toHaveProperty('disabled', true)
    await userEvent.type(screen.getByLabelText(/Folder on the host/), '/srv/back')
    await userEvent.click(next)
    await screen.findByText('The daemon accepts it')
    expect(asked.find((call) => call.method === 'POST')?.body).toMatchObject({ restore: { path: '/srv/shop/a.db', targetFolder: '/srv/back' } })
  })
  it('warns of a name that is taken', async () => {
    answers['GET /v1/recoveryPoints/p'] = () => ({ body: point })
    answers['GET /v1/recoveryPoints?'] = () => ({ body: { recoveryPoints: [point] } })
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [] } })
    answers['GET /v1/hosts/h/virtualMachines?'] = () => ({ body: { virtualMachines: [{ name: 'hosts/h/virtualMachines/w', displayName: 'mail01-restored' }] } })
    const { default: Restore } = await import('./restore')
    show(<Restore />, '/restore/p', '/restore/:point')
    await userEvent.click(await screen.findByRole('button', { name: /Next: where/ }))
    await screen.findByText('There is a machine mail01-restored on that host already')
  })
})
