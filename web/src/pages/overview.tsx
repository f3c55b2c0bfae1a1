// One look in the morning: is every machine safe, and if not, which one isn't, and why.
import { Anchor, Group, Stack, Table, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense } from 'react'
import { Link } from 'react-router'
import type { Host, Identity, Job, Policy, Repository } from '../api/client'
import { activeJobsQuery, hostsQuery, identityQuery, nightsQuery, policiesQuery, protectionQuery, repositoriesQuery } from '../api/queries'
import { daysUntilFull, nextRuns, nightName, type Night, type Summary } from '../logic/coverage'
import { bytes, count, idOf, num, percent, time } from '../logic/format'
import { fullWords, savedBytes } from '../logic/growth'
import { can, canEverywhere } from '../logic/permissions'
import { JobLink, JobProgressBar, JobSubject, JobTag } from '../ui/job_parts'
import { useNow } from '../ui/now'
import { Empty, Loaded, MachineLink, Page, Panel, Tag, When } from '../ui/parts'
import { useZone } from '../ui/preferences'

// Axes and lines come after the words: those tell whether all is well.
const GrowthChart = lazy(() => import('../ui/growth_chart'))

export default function Overview() {
  const identity = useQuery(identityQuery)
  if (!identity.data) return null // the frame has asked for it
  return <Panels identity={identity.data} />
}

function Panels({ identity }: { identity: Identity }) {
  const hosts = useQuery({ ...hostsQuery, enabled: can(identity, 'hosts.view') })
  const policies = useQuery({ ...policiesQuery, enabled: can(identity, 'policies.view') })
  const repositories = useQuery({ ...repositoriesQuery, enabled: canEverywhere(identity, 'repositories.view') })
  return (
    <Page title="Overview">
      {can(identity, 'policies.view') && <Protection identity={identity} />}
      <div className="grid">
        {can(identity, 'jobs.view') && <Running />}
        {can(identity, 'jobs.view') && <Nights identity={identity} />}
        {can(identity, 'policies.view') && (
          <Panel title="Next runs" aside={<Anchor component={Link} to="/policies" size="sm">All policies</Anchor>}>
            <Loaded query={policies} rows={1}>{(all) => <NextRuns policies={all} />}</Loaded>
          </Panel>
        )}
        {can(identity, 'hosts.view') && (
          <Panel title="Hosts" aside={<Anchor component={Link} to="/hosts" size="sm">All hosts</Anchor>}>
            <Loaded query={hosts} rows={1}>{(all) => <HostTroubles hosts={all} />}</Loaded>
          </Panel>
        )}
        {canEverywhere(identity, 'repositories.view') && (
          <>
            <Panel title="Storage" aside={<Anchor component={Link} to="/repositories" size="sm">All repositories</Anchor>}>
              <Loaded query={repositories} rows={4}>{(all) => <Repositories repositories={all} />}</Loaded>
            </Panel>
            <Panel title="Is what is stored sound?">
              <Loaded query={repositories} rows={1}>{(all) => <Verified repositories={all} />}</Loaded>
            </Panel>
          </>
        )}
      </div>
    </Page>
  )
}

function Protection({ identity }: { identity: Identity }) {
  const query = useQuery(protectionQuery(canEverywhere(identity, 'policies.view')))
  return (
    <Panel title="Are all machines safe?">
      <div className="steady-picture"><Loaded query={query} rows={6}>{({ summary, whole }) => <Picture summary={summary} whole={whole} />}</Loaded></div>
    </Panel>
  )
}

/** In one sentence, as a bar, as figures that lead to the machines, and the failing ones with the reason. */
export function Picture({ summary, whole }: { summary: Summary; whole: boolean }) {
  if (summary.total === 0) {
    return <Empty>No virtual machine is known yet. <Anchor component={Link} to="/hosts?enrol=1">Enrol a host</Anchor>: its machines appear by themselves.</Empty>
  }
  const parts = [
    { word: 'Protected', value: summary.safe, tone: 'good', note: 'newest point as promised', to: '/machines' },
    { word: 'Failing', value: summary.failing, tone: 'bad', note: 'last backup failed', to: '' },
    { word: 'Never backed up', value: summary.never, tone: 'late', note: 'selected, without a point', to: '/machines?show=never' },
    { word: 'Too old', value: summary.late, tone: 'late', note: 'promised age missed', to: '/machines?show=late' },
    { word: 'No policy', value: summary.unprotected, tone: 'warn', note: 'nothing backs them up', to: '/machines?show=unprotected' },
  ]
  const troubled = summary.total - summary.safe
  const sentence = troubled === 0
    ? `Yes: all ${whole ? '' : 'of the first '}${count(summary.total, 'machine')} are protected.`
    : `No: ${whole ? '' : 'at least '}${count(troubled, 'machine')} of ${summary.total.toLocaleString('en-GB')} ${troubled === 1 ? 'needs' : 'need'} attention.`
  return (
    <>
      <Text fw={600} mb="xs">{sentence}</Text>
      <div className="picture" role="img" aria-label={parts.map((part) => `${part.word}: ${part.value}`).join(', ')}>
        {parts.filter((part) => part.value > 0).map((part) => <span key={part.word} className={`fill-${part.tone}`} style={{ flexGrow: part.value }} />)}
      </div>
      <div className="figures">
        {parts.map((part) => {
          const inner = <><span>{part.word}</span><b>{part.value.toLocaleString('en-GB')}</b><Text span size="xs" className="dim">{part.note}</Text></>
          return part.to
            ? <Link key={part.word} className={`figure figure-${part.tone}`} to={part.to}>{inner}</Link>
            : <div key={part.word} className={`figure figure-${part.tone}`}>{inner}</div>
        })}
      </div>
      {summary.failingMachines.length > 0 && (
        <Stack gap={6} mt="md">
          {summary.failingMachines.slice(0, 8).map((failure) => (
            <div key={failure.machine}>
              <Tag tone="bad">Failing</Tag> <MachineLink name={failure.machine} known={failure.name} />: {failure.message || failure.reason}{' '}
              <Anchor component={Link} to={`/jobs/${idOf(failure.job)}`}>What to do</Anchor>
            </div>
          ))}
          {summary.failing > 8 && <Text size="sm" className="dim">and {(summary.failing - 8).toLocaleString('en-GB')} more: <Anchor component={Link} to="/jobs?kind=backup">the list of backups</Anchor> has them all</Text>}
        </Stack>
      )}
    </>
  )
}

function Running() {
  const active = useQuery(activeJobsQuery)
  return (
    <Panel title="Now" aside={<Anchor component={Link} to="/jobs?active=1" size="sm">All jobs</Anchor>}>
      <Loaded query={active} rows={2}>
        {({ jobs, whole }) => {
          const working = jobs.filter((job) => job.state !== 'STATE_QUEUED')
          const waiting = jobs.length - working.length
          const note = waiting > 0 ? `${count(waiting, 'job')}${whole ? '' : ' or more'} ${waiting === 1 ? 'waits' : 'wait'} for a turn.` : ''
          if (working.length === 0) return <Empty>Nothing runs. {note}</Empty>
          return (
            <Stack gap="sm">
              {working.slice(0, 6).map((job) => <RunningJob key={job.name} job={job} />)}
              {working.length > 6 && <Text size="sm">and {working.length - 6} more that run</Text>}
              {note && <Text size="sm" className="dim">{note}</Text>}
            </Stack>
          )
        }}
      </Loaded>
    </Panel>
  )
}

function RunningJob({ job }: { job: Job }) {
  return (
    <div>
      <Group gap="xs" mb={4}><JobTag job={job} /><JobLink job={job} /><span className="clip grow"><JobSubject job={job} /></span></Group>
      <JobProgressBar job={job} label={idOf(job.name)} />
    </div>
  )
}

function Nights({ identity }: { identity: Identity }) {
  const zone = useZone()
  const query = useQuery(nightsQuery(canEverywhere(identity, 'jobs.view'), zone === 'utc'))
  const now = useNow(60_000)
  return (
    <Panel title="Last night, and those before" aside={<Anchor component={Link} to="/jobs?kind=backup" size="sm">All backups</Anchor>}>
      <Loaded query={query} rows={7}>
        {(found) => found.length === 0
          ? <Empty>Too many backups ran since noon to be summed up here. The list of jobs has them all.</Empty>
          : (
            <table className="nights">
              <tbody>{found.map((night) => <NightRow key={night.from} night={night} name={nightName(night, now)} />)}</tbody>
            </table>
          )}
      </Loaded>
    </Panel>
  )
}

function NightRow({ night, name }: { night: Night; name: string }) {
  const zone = useZone()
  const parts = [
    { word: 'done', value: night.succeeded, tone: 'good' }, { word: 'with warnings', value: night.warned, tone: 'warn' },
    { word: 'failed', value: night.failed, tone: 'bad' }, { word: 'cancelled', value: night.cancelled, tone: 'idle' },
  ].filter((part) => part.value > 0)
  return (
    <tr>
      <th scope="row" title="From noon to noon">{name || time(new Date(night.from).toISOString(), zone).slice(0, -15)}</th>
      <td className="picture-cell"><div className="picture" aria-hidden="true">{parts.map((part) => <span key={part.word} className={`fill-${part.tone}`} style={{ flexGrow: part.value }} />)}</div></td>
      <td>{parts.length === 0 ? 'no backup ended' : parts.map((part) => `${part.value} ${part.word}`).join(', ')}</td>
    </tr>
  )
}

function NextRuns({ policies }: { policies: Policy[] }) {
  const next = nextRuns(policies, 6)
  const paused = policies.filter((policy) => policy.paused).length
  return (
    <>
      {next.length === 0
        ? <Empty>{policies.length === 0 ? 'There is no policy yet, so nothing is backed up by itself. Make one: umbra policy create nightly --select all --schedule "daily at 22:00"' : 'No policy has a run to come.'}</Empty>
        : (
          <Table verticalSpacing={4}>
            <Table.Tbody>
              {next.map((policy) => (
                <Table.Tr key={policy.name}>
                  <Table.Td><Anchor component={Link} to={`/policies?policy=${idOf(policy.name)}`}>{idOf(policy.name)}</Anchor></Table.Td>
                  <Table.Td><When value={policy.nextRunTime} exact /></Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
      {paused > 0 && <Text size="sm" mt="xs"><Tag tone="warn">Paused</Tag> {count(paused, 'policy runs', 'policies run')} only when asked.</Text>}
    </>
  )
}

const CHARTS = 3

function Repositories({ repositories }: { repositories: Repository[] }) {
  if (repositories.length === 0) return <Empty>No repository is configured: see [[repository]] in umbrad.toml.</Empty>
  return (
    <Stack gap="md">
      {repositories.map((repository, index) => {
        const stored = num(repository.storedBytes)
        const free = num(repository.freeBytes)
        const full = fullWords(daysUntilFull(repository.days ?? [], free))
        const used = percent(stored, stored + free)
        return (
          <div key={repository.name}>
            <Group justify="space-between">
              <Anchor component={Link} to={`/repositories/${idOf(repository.name)}`} fw={600}>{idOf(repository.name)}</Anchor>
              {used > 90 && <Tag tone="warn">Nearly full</Tag>}
            </Group>
            <div className="picture" role="img" aria-label={`${bytes(stored)} used, ${bytes(free)} free`}>
              <span className={used > 90 ? 'fill-warn' : 'fill-good'} style={{ flexGrow: stored }} /><span style={{ flexGrow: free }} />
            </div>
            <Text size="sm" className="dim">
              {bytes(stored)} used, {bytes(free)} free{full && `, ${full} at this growth`}.{' '}
              {count(num(repository.recoveryPointCount), 'recovery point holds', 'recovery points hold')} {bytes(repository.logicalBytes)}; {bytes(savedBytes(repository))} saved:
              {' '}{(repository.dedupRatio ?? 0).toFixed(1)} times by deduplication, {(repository.compressionRatio ?? 0).toFixed(1)} times by compression.
            </Text>
            {index < CHARTS && <Suspense fallback={null}><GrowthChart repository={repository} /></Suspense>}
          </div>
        )
      })}
    </Stack>
  )
}

/** What verifications found, and how much they haven't looked at. */
function Verified({ repositories }: { repositories: Repository[] }) {
  if (repositories.length === 0) return <Empty>Nothing is stored yet.</Empty>
  return (
    <Stack gap="sm">
      {repositories.map((repository) => {
        const found = repository.verification
        const damaged = num(found?.damagedPlaceCount)
        const quarantined = num(found?.quarantinedPackCount)
        const never = num(found?.neverVerifiedCount)
        const packs = num(repository.packCount)
        return (
          <div key={repository.name}>
            {damaged > 0 ? <Tag tone="bad">Damaged</Tag> : quarantined > 0 ? <Tag tone="warn">In quarantine</Tag> : <Tag tone="good">Sound</Tag>}{' '}
            <Anchor component={Link} to={`/repositories/${idOf(repository.name)}`}>{idOf(repository.name)}</Anchor>:{' '}
            {damaged > 0 && <>{count(damaged, 'damaged place')} in {count((found?.damagedRecoveryPoints ?? []).length, 'recovery point')} without a sound copy. </>}
            {quarantined > 0 && <>{count(quarantined, 'pack')} in quarantine. </>}
            {packs === 0 ? 'nothing is stored yet.' : never >= packs ? 'nothing was verified yet.' : (
              <>{never > 0 && <>{count(never, 'pack')} of {packs.toLocaleString('en-GB')} never verified, </>}the oldest verification <When value={found?.oldestVerifyTime} />.</>
            )}
          </div>
        )
      })}
    </Stack>
  )
}

function HostTroubles({ hosts }: { hosts: Host[] }) {
  const troubles = hosts.filter((host) => host.state !== 'STATE_ONLINE' || host.agentProblem || host.hypervisorError || host.drained)
  if (hosts.length === 0) return <Empty>No host yet. <Anchor component={Link} to="/hosts?enrol=1">Enrol one.</Anchor></Empty>
  if (troubles.length === 0) return <Text>All {count(hosts.length, 'host')} {hosts.length === 1 ? 'is' : 'are'} online and {hosts.length === 1 ? 'takes' : 'take'} work.</Text>
  return (
    <Stack gap={6}>
      {troubles.slice(0, 10).map((host) => (
        <div key={host.name}>
          {host.state !== 'STATE_ONLINE' ? <Tag tone="bad">Offline</Tag> : <Tag tone="warn">{host.drained ? 'In maintenance' : 'Trouble'}</Tag>}{' '}
          <Anchor component={Link} to={`/hosts/${idOf(host.name)}`}>{host.displayName}</Anchor>{' '}
          {host.state !== 'STATE_ONLINE' ? <>last seen <When value={host.lastSeenTime} /></> : host.agentProblem || host.hypervisorError || host.drainNote}
        </div>
      ))}
      {troubles.length > 10 && <Text size="sm" className="dim">and {troubles.length - 10} more</Text>}
    </Stack>
  )
}
