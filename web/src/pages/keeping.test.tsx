// @vitest-environment jsdom
// The overview, hosts and repositories, each with a daemon that answers what it is told to.
import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { describe, expect, it, vi } from 'vitest'
import { violations } from '../test/axe'
import { answers, asked, show, useFakeDaemon } from '../test/fake_daemon'

useFakeDaemon()

const REPOSITORY = {
  name: 'repositories/main', location: '/srv/main', storedBytes: '3000', freeBytes: '97000', logicalBytes: '30000', recoveryPointCount: '12', packCount: '4', dedupRatio: 5, compressionRatio: 2,
  days: ['24', '25', '26'].map((day, index) => ({ date: `2026-11-${day}`, storedBytes: String(1000 * (index + 1)), logicalBytes: '30000', recoveryPointCount: '12', ...(index > 0 ? { growthBytes: '1000' } : {}) })),
  verification: { neverVerifiedCount: '1', oldestVerifyTime: '2026-11-20T01:00:00Z', quarantinedPackCount: '0', damagedPlaceCount: '0', damagedRecoveryPoints: [] },
}
const HOST = { name: 'hosts/h1', displayName: 'hv-1', state: 'STATE_ONLINE', virtualMachineCount: 25, workingJobCount: 0, agentVersion: '0.1.0', labels: { env: 'test' } }

// jsdom draws nothing and measures nothing, so a virtual table shows no row by itself.
vi.mock('uplot', () => ({ default: class { setSize() {} destroy() {} } }))
vi.mock('@tanstack/react-virtual', () => ({
  useVirtualizer: ({ count, getItemKey }: { count: number; getItemKey: (index: number) => string }) => ({
    getVirtualItems: () => Array.from({ length: count }, (_, index) => ({ index, key: getItemKey(index), start: index * 44 })), getTotalSize: () => count * 44,
  }),
}))

describe('the overview', () => {
  const fleet = () => {
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [HOST, { ...HOST, name: 'hosts/h2', displayName: 'hv-2', state: 'STATE_OFFLINE' }] } })
    answers['GET /v1/policies'] = () => ({ body: { policies: [] } })
    answers['GET /v1/repositories'] = () => ({ body: { repositories: [REPOSITORY] } })
    answers['GET /v1/repositories/main'] = () => ({ body: REPOSITORY })
    answers['GET /v1/jobs'] = () => ({ body: { jobs: [] } })
    answers['GET /v1/jobs:summarizeBackups'] = () => ({ body: { summaries: [{ startTime: '2026-11-25T12:00:00Z', succeededCount: '7', warnedCount: '2', failedCount: '1', cancelledCount: '0' }] } })
    answers['GET /v1/coverage:summary'] = () => ({ body: { totalCount: '50000', protectedCount: '49999', failingCount: '1', unprotectedCount: '0', neverCount: '0', lateCount: '0', failing: [{ virtualMachine: 'hosts/h1/virtualMachines/v', displayName: 'mail01', job: 'jobs/j9', error: { message: 'the guest is slow' } }] } })
  }
  it('is made of the daemon’s sums, without reading any machine', async () => {
    fleet()
    const { default: Overview } = await import('./overview')
    show(<Overview />)
    await screen.findByText('No: 1 machine of 50,000 needs attention.')
    expect(screen.getByRole('link', { name: 'mail01' })).toBeTruthy()
    await screen.findByText('5 done, 2 with warnings, 1 failed')
    await screen.findByText(/3,000 B|2.9 KiB used/)
    await screen.findByText('hv-2')
    await screen.findByText(/1 pack of 4 never verified/)
    expect(await violations()).toEqual([])
    expect(asked.some((call) => call.path.startsWith('/v1/coverage?') || call.path.includes('virtualMachines'))).toBe(false)
  })
  it('reads lists for those who may see a part only, to whom sums are refused', async () => {
    fleet()
    answers['GET /v1/identity'] = () => ({ body: { name: 'users/eva', grants: [{ permissions: ['*'], scope: { hosts: ['hosts/h1'] } }] } })
    answers['GET /v1/coverage?'] = () => ({ body: { coverage: [{ virtualMachine: 'hosts/h1/virtualMachines/v', policies: ['policies/p'], lastGoodTime: '2026-11-26T01:00:00Z' }] } })
    const { default: Overview } = await import('./overview')
    show(<Overview />)
    await screen.findByText('Yes: all 1 machine are protected.')
    expect(asked.some((call) => call.path.includes(':summar') || call.path.includes('/v1/repositories'))).toBe(false)
  })
  it('tells a repository’s damage', async () => {
    fleet()
    answers['GET /v1/repositories/main'] = () => ({ body: { ...REPOSITORY, verification: { ...REPOSITORY.verification, damagedPlaceCount: '2', damagedRecoveryPoints: ['recoveryPoints/p'] } } })
    const { default: Overview } = await import('./overview')
    show(<Overview />)
    await screen.findByText(/2 damaged places in 1 recovery point without a sound copy/)
  })
})

describe('hosts', () => {
  it('are found by what is typed', async () => {
    answers['GET /v1/hosts'] = () => ({ body: { hosts: [HOST, { ...HOST, name: 'hosts/h2', displayName: 'hv-2', labels: {} }] } })
    const { default: Hosts } = await import('./hosts')
    show(<Hosts />, '/hosts', '/hosts')
    await screen.findByRole('link', { name: 'hv-2' })
    expect(await violations()).toEqual([])
    await userEvent.type(screen.getByLabelText('Search hosts'), 'env=')
    await waitFor(() => expect(screen.queryByRole('link', { name: 'hv-2' })).toBeNull())
    expect(screen.getByRole('link', { name: 'hv-1' }).getAttribute('href')).toBe('/hosts/h1')
    await userEvent.type(screen.getByLabelText('Search hosts'), 'nothing')
    await screen.findByText(/No host is like that/)
  })
  it('show their writers as the host does, and say what removing them loses', async () => {
    answers['GET /v1/hosts/h1'] = () => ({ body: { ...HOST, workingJobCount: 2 } })
    answers['GET /v1/hosts/h1/writers'] = () => ({ body: { writers: [{ name: 'hosts/h1/writers/w', displayName: 'SqlServerWriter', writerId: 'w', instanceId: 'i', state: 'FAILED_AT_FREEZE', lastFailureCode: 2147754994, lastFailure: 'Timed out', componentCount: 3 }] } })
    answers['DELETE /v1/hosts/h1'] = () => ({ body: {} })
    const { default: HostPage } = await import('./host')
    show(<HostPage />, '/hosts/h1', '/hosts/:host')
    await screen.findByText('[9] Failed at freeze')
    expect(screen.getByText('Timed out (0x800423f2)')).toBeTruthy()
    await userEvent.click(screen.getByRole('button', { name: 'Remove' }))
    const dialog = await screen.findByRole('dialog')
    expect(dialog.textContent).toContain('2 jobs that it works on are cancelled')
    expect(dialog.textContent).toContain('25 machines')
    expect(await violations()).toEqual([])
    expect(dialog.textContent).toContain('env=test')
    await userEvent.click(within(dialog).getByRole('button', { name: 'Remove the host' }))
    await screen.findByText('another page')
    expect(asked.find((call) => call.method === 'DELETE')?.path).toBe('/v1/hosts/h1?force=true')
  })
  it('get and lose labels', async () => {
    answers['GET /v1/hosts/h1'] = () => ({ body: HOST })
    answers['GET /v1/hosts/h1/writers'] = () => ({ body: { writers: [] } })
    answers['POST /v1/hosts/h1:setLabels'] = () => ({ body: HOST })
    const { default: HostPage } = await import('./host')
    show(<HostPage />, '/hosts/h1', '/hosts/:host')
    await userEvent.click(await screen.findByRole('button', { name: 'Change the labels' }))
    const field = await screen.findByLabelText('One key=value a line')
    await userEvent.clear(field)
    await userEvent.type(field, 'site=ber')
    await screen.findByText(/env is taken away/)
    await userEvent.click(screen.getByRole('button', { name: 'Save the labels' }))
    await waitFor(() => expect(asked.find((call) => call.method === 'POST')?.body).toEqual({ set: { site: 'ber' }, remove: ['env'] }))
  })
})

describe('a repository', () => {
  const page = async () => {
    answers['GET /v1/jobs'] ??= () => ({ body: { jobs: [] } })
    answers['GET /v1/repositories/main'] ??= () => ({ body: REPOSITORY })
    answers['GET /v1/repositories/main/keys'] ??= () => ({ body: { epoch: 1, keys: [{ name: 'repositories/main/keys/k1', kind: 'KIND_KEY_FILE', label: 'daemon', inUse: true }] } })
    answers['GET /v1/recoveryPoints'] ??= () => ({ body: { recoveryPoints: [] } })
    const { default: RepositoryPage } = await import('./repository')
    show(<RepositoryPage />, '/repositories/main', '/repositories/:repository')
  }
  it('has its growth as a picture and as a table', async () => {
    await page()
    await screen.findByRole('img', { name: /From 2026-11-24 to 2026-11-26: stored 1000 B to 2.9 KiB/ })
    expect(within(screen.getByText('Each day as a table').parentElement!).getAllByRole('row', { hidden: true })).toHaveLength(4)
  })
  it('is pruned only after a dry run has said what goes', async () => {
    answers['POST /v1/jobs'] = () => ({ body: { name: asked.at(-1) && (asked.at(-1)!.body as { prune: { dryRun: boolean } }).prune.dryRun ? 'jobs/dry' : 'jobs/real' } })
    answers['GET /v1/jobs/dry'] = () => ({ body: { name: 'jobs/dry', state: 'STATE_SUCCEEDED', prune: { dryRun: true }, pruneResult: { deletedPointCount: '3', freedBytes: '2048', deletedPackCount: '1' } } })
    await page()
    await userEvent.click(await screen.findByRole('button', { name: 'Prune…' }))
    expect(screen.queryByRole('button', { name: 'Prune now' })).toBeNull()
    await userEvent.click(await screen.findByRole('button', { name: 'Show what it would do' }))
    const now = await screen.findByRole('button', { name: 'Prune now' })
    expect(screen.getByText('2 KiB in 1 pack')).toBeTruthy()
    expect(await violations()).toEqual([])
    expect(screen.getByText(/can’t be brought back after that/)).toBeTruthy()
    await userEvent.click(now)
    await screen.findByText('another page')
    expect(asked.filter((call) => call.method === 'POST').map((call) => call.body)).toEqual([
      { prune: { repository: 'repositories/main', dryRun: true } }, { prune: { repository: 'repositories/main', dryRun: false } }])
  })
  it('shows a recovery key once, when it is made', async () => {
    answers['POST /v1/repositories/main/keys'] = () => ({ body: { key: { name: 'repositories/main/keys/k2' }, recoveryKey: 'AAAAA-BBBBB' } })
    await page()
    await screen.findByText('Only one key opens this repository')
    await userEvent.click(screen.getByRole('button', { name: 'Add a key' }))
    await userEvent.type(await screen.findByLabelText('Label'), 'safe')
    await userEvent.click(screen.getByRole('button', { name: 'Add it' }))
    await screen.findByText('AAAAA-BBBBB')
    expect(await violations()).toEqual([])
    expect(asked.find((call) => call.method === 'POST')?.body).toEqual({ key: { kind: 'KIND_RECOVERY_KEY', label: 'safe' } })
    await userEvent.click(screen.getByRole('button', { name: 'Done' }))
    await userEvent.click(screen.getByRole('button', { name: 'Add a key' }))
    await screen.findByLabelText('Label')
    expect(screen.queryByText('AAAAA-BBBBB')).toBeNull()
  })
  it('says what a wrong clock means, and believes a person', async () => {
    answers['GET /v1/repositories/main'] = () => ({ body: { ...REPOSITORY, clockAhead: '7200s' } })
    answers['POST /v1/repositories/main:confirmClock'] = () => ({ body: REPOSITORY })
    await page()
    await screen.findByText(/clock is 2 h ahead/)
    await userEvent.click(screen.getByRole('button', { name: 'The clock is right' }))
    await userEvent.click(await screen.findByRole('button', { name: 'Yes, it is right' }))
    await waitFor(() => expect(asked.some((call) => call.path.endsWith(':confirmClock'))).toBe(true))
  })
  it('brings removed points back, and asks only for those of a kind', async () => {
    const point = { repository: 'repositories/main', virtualMachine: 'hosts/h/virtualMachines/v', virtualMachineDisplayName: 'mail01' }
    answers['GET /v1/recoveryPoints'] = (path) => ({ body: path.includes('FILTER_REMOVED')
      ? path.includes('pageToken=more')
        ? { recoveryPoints: [{ ...point, name: 'recoveryPoints/b', deleteTime: '2026-11-24T01:00:00Z', deletedBy: 'otto' }] }
        : { recoveryPoints: [{ ...point, name: 'recoveryPoints/a', deleteTime: '2026-11-25T01:00:00Z', purgeTime: '2026-12-25T01:00:00Z', deletedBy: 'eva' }], nextPageToken: 'more' }
      : { recoveryPoints: [] } })
    answers['POST /v1/recoveryPoints/a:undelete'] = () => ({ body: {} })
    await page()
    await screen.findByText('eva')
    expect(screen.queryByText('otto')).toBeNull()
    await userEvent.click(screen.getByRole('button', { name: 'Show older ones' }))
    await screen.findByText('otto')
    expect(await violations()).toEqual([])
    await userEvent.click(screen.getAllByRole('button', { name: 'Bring back' })[0]!)
    await waitFor(() => expect(asked.some((call) => call.path === '/v1/recoveryPoints/a:undelete')).toBe(true))
    await userEvent.click(screen.getByText('On hold'))
    await screen.findByText(/Nothing is on hold/)
    const lists = asked.filter((call) => call.path.startsWith('/v1/recoveryPoints?'))
    expect(lists.every((call) => call.path.includes('repository=repositories') && call.path.includes('filter=FILTER_'))).toBe(true)
  })
})
