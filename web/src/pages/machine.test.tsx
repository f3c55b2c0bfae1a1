// @vitest-environment jsdom
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { violations } from '../test/axe'
import { answers, asked, show, useFakeDaemon } from '../test/fake_daemon'
import FileSetPage from './file_set'
import Machine from './machine'

// There is no canvas here: what is drawn is looked at in a browser.
const { drawn } = vi.hoisted(() => ({ drawn: [] as { series: { label?: string }[]; data: unknown }[] }))
vi.mock('uplot', () => ({ default: class { constructor(options: { series: { label?: string }[] }, data: unknown) { drawn.push({ series: options.series, data }) } destroy() {} setSize() {} } }))

useFakeDaemon()

const day = (number: number) => `2026-11-${String(number).padStart(2, '0')}T12:00:00Z`
const points = [
  { name: 'recoveryPoints/p3', pointTime: day(25), mechanism: 'BACKUP_MECHANISM_CHILD_SNAPSHOT', virtualMachineDisplayName: 'mail01', readBytes: '1024', storedBytes: '512', freezeDuration: '0.143s' },
  { name: 'recoveryPoints/p2', pointTime: day(24), held: true, heldBy: 'eva', holdNote: 'audit', virtualMachineDisplayName: 'mail01', readBytes: '2048', storedBytes: '512', freezeDuration: '0.2s' },
  { name: 'recoveryPoints/p1', pointTime: day(24), deleteTime: day(25), virtualMachineDisplayName: 'mail01' },
]

describe('the page of a machine', () => {
  beforeEach(() => {
    drawn.length = 0
    answers['GET /v1/hosts/h/virtualMachines/v'] = () => ({ body: { name: 'hosts/h/virtualMachines/v', displayName: 'mail01', labels: { env: 'prod' }, lastRecoveryPoint: 'recoveryPoints/p3' } })
    answers['GET /v1/recoveryPoints?'] = () => ({ body: { recoveryPoints: points } })
    answers['GET /v1/recoveryPoints/p3'] = () => ({ body: {
      ...points[0], health: 'HEALTH_UNSPECIFIED', verifyTime: day(25), job: 'jobs/j', configuration: '<domain/>', vssDocuments: ['<WRITER_METADATA friendlyName="Disk Writer"/>', '<BACKUP_COMPONENTS/>'],
    } })
    answers['GET /v1/events?'] = () => ({ body: { events: [] } })
    answers['GET /v1/policies?member='] = () => ({ body: { policies: [{ name: 'policies/nightly', schedules: ['daily at 22:00'], nextRunTime: day(26) }, { name: 'policies/archive', paused: true }] } })
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [{ name: 'hosts/h', displayName: 'hv-1' }] } })
  })
  const open = () => show(<Machine />, '/machines/h/v', '/machines/:host/:machine')

  it('shows its points on a calendar, and those of a day alone', async () => {
    open()
    await userEvent.click(await screen.findByRole('button', { name: '24: 2 recovery points, on hold or locked' }))
    expect(screen.getByText('2 recovery points of 2026-11-24')).toBeTruthy()
    expect(screen.queryByText('Ready')).toBeNull()
    await userEvent.click(screen.getByRole('button', { name: 'Show all days' }))
    expect(screen.getByText('Ready')).toBeTruthy()
  })
  it('says which policies select it', async () => {
    open()
    expect((await screen.findByRole('link', { name: 'nightly' })).getAttribute('href')).toBe('/policies?policy=nightly')
    expect(asked.some((call) => decodeURIComponent(call.path) === '/v1/policies?member=hosts/h/virtualMachines/v&pageSize=1000')).toBe(true)
    expect(screen.getByRole('row', { name: /archive only when asked to run Paused/ })).toBeTruthy()
    expect(await violations()).toEqual([])
  })
  it('says what it means when none does', async () => {
    answers['GET /v1/policies?member='] = () => ({ body: {} })
    open()
    await screen.findByText(/No policy selects it/)
  })
  it('draws what they cost, and says it in words', async () => {
    open()
    await userEvent.click(await screen.findByText('Standing still'))
    const chart = await screen.findByRole('img', { name: 'Of 3 recovery points: frozen usually 143 ms, at most 200 ms' })
    expect(chart).toBeTruthy()
    expect(await violations()).toEqual([])
    await waitFor(() => expect(drawn.at(-1)?.series.map((one) => one.label)).toEqual(['Time', 'Frozen']))
  })
  it('shows all of a point, VSS documents too, and reads it back', async () => {
    answers['POST /v1/jobs'] = () => ({ body: { name: 'jobs/v' } })
    open()
    await userEvent.click((await screen.findAllByRole('button', { name: 'Details' }))[0]!)
    const dialog = await screen.findByRole('dialog')
    await within(dialog).findByText('VSS: writer metadata of Disk Writer')
    expect(within(dialog).getByText('VSS: backup components document')).toBeTruthy()
    expect(within(dialog).getByText('Verified')).toBeTruthy()
    expect(await violations()).toEqual([])
    await userEvent.click(within(dialog).getByRole('button', { name: 'Read it back and compare now' }))
    await waitFor(() => expect(asked.find((call) => call.method === 'POST')?.body).toMatchObject({ verify: { recoveryPoint: 'recoveryPoints/p3', level: 'LEVEL_DISKS' } }))
  })
  it('asks before it releases and locks, with what that means', async () => {
    answers['POST /v1/recoveryPoints/p2:release'] = () => ({ body: {} })
    answers['POST /v1/recoveryPoints/p3:lock'] = () => ({ body: {} })
    open()
    await userEvent.click(await screen.findByRole('button', { name: 'Release' }))
    expect((await screen.findByRole('dialog')).textContent).toMatch(/eva holds it: audit.*may be at once/)
    await userEvent.click(screen.getByRole('button', { name: 'Release it' }))
    await waitFor(() => expect(asked.some((call) => call.path.endsWith('p2:release'))).toBe(true))
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
    await userEvent.click(screen.getAllByRole('button', { name: 'Lock' })[0]!)
    expect(screen.getByRole('button', { name: 'Lock it' })).toHaveProperty('disabled', true)
    const field = screen.getByLabelText('Until the end of')
    await userEvent.type(field, '2001-01-01')
    expect(screen.getByRole('button', { name: 'Lock it' })).toHaveProperty('disabled', true)
    await userEvent.clear(field)
    await userEvent.type(field, '2099-01-01')
    await userEvent.click(screen.getByRole('button', { name: 'Lock it' }))
    await waitFor(() => expect(asked.find((call) => call.path.endsWith('p3:lock'))?.body).toMatchObject({ untilTime: expect.stringMatching(/^2099-01-0/) }))
  })
  it('changes its labels by what differs', async () => {
    answers['POST /v1/hosts/h/virtualMachines/v:setLabels'] = () => ({ body: { labels: { team: 'post' } } })
    open()
    await userEvent.click(await screen.findByRole('button', { name: 'Change the labels' }))
    const field = await screen.findByLabelText('One key=value a line')
    await userEvent.clear(field)
    await userEvent.type(field, 'team=post')
    await userEvent.click(screen.getByRole('button', { name: 'Save the labels' }))
    await waitFor(() => expect(asked.find((call) => call.method === 'POST')?.body).toEqual({ set: { team: 'post' }, remove: ['env'] }))
  })
})

describe('the page of a file set', () => {
  it('shows its points, each with its way back', async () => {
    answers['GET /v1/hosts/-/fileSets'] = () => ({ body: { fileSets: [{ name: 'hosts/h/fileSets/shop', folders: [{ path: '/srv/shop' }], hasFreezeHook: true }] } })
    answers['GET /v1/recoveryPoints?fileSet='] = () => ({ body: { recoveryPoints: [{ name: 'recoveryPoints/f', fileSet: 'hosts/h/fileSets/shop', pointTime: day(25) }] } })
    show(<FileSetPage />, '/file-sets/h/shop', '/file-sets/:host/:set')
    await screen.findByText('/srv/shop')
    expect(await violations()).toEqual([])
    expect((await screen.findByRole('link', { name: 'Restore' })).getAttribute('href')).toBe('/restore/f')
  })
})
