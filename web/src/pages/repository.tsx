// A repository: how full it is and becomes, whether what is in it is sound, its upkeep, its keys, and what is held or removed in it.
import { Anchor, Button, Group, NativeSelect, Stack, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Job, type Repository } from '../api/client'
import { identityQuery, pointQuery } from '../api/queries'
import { awaitedJobQuery, repositoryQuery, upkeepQuery } from '../api/repository_queries'
import { daysUntilFull } from '../logic/coverage'
import { bytes, count, duration, enumWords, idOf, num, seconds } from '../logic/format'
import { fullWords, savedBytes } from '../logic/growth'
import { elapsedSeconds, isFinal } from '../logic/jobs'
import { can, canEverywhere } from '../logic/permissions'
import GrowthChart from '../ui/growth_chart'
import { Advice, JobLink, JobProgressBar, JobTag } from '../ui/job_parts'
import { Confirm, Dialog, Empty, Field, Loaded, MachineLink, Notice, Page, Panel, Problem, When } from '../ui/parts'
import { RepositoryState } from './repositories'
import { Keys } from './repository_keys'
import { HeldAndRemoved } from './repository_points'

export default function RepositoryPage() {
  const { repository: id = '' } = useParams()
  const query = useQuery(repositoryQuery(id))
  const identity = useQuery(identityQuery)
  return (
    <Page title={`Repository ${id}`}>
      <Loaded query={query} rows={6}>
        {(repository) => (
          <>
            <ClockNotice repository={repository} />
            <div className="grid">
              <Usage repository={repository} />
              <Soundness repository={repository} />
            </div>
            {can(identity.data, 'jobs.view') && <Upkeep repository={repository} />}
            {canEverywhere(identity.data, 'keys.manage') && <Keys repository={id} />}
            {can(identity.data, 'points.view') && <HeldAndRemoved repository={id} />}
            {canEverywhere(identity.data, 'repositories.manage') && <Rebuild repository={id} />}
          </>
        )}
      </Loaded>
    </Page>
  )
}

function ClockNotice({ repository }: { repository: Repository }) {
  const queries = useQueryClient()
  const identity = useQuery(identityQuery)
  const [asks, setAsks] = useState(false)
  const confirm = useMutation({
    mutationFn: () => body(api.POST('/v1/repositories/{repository}:confirmClock', { params: { path: { repository: idOf(repository.name) } }, body: { requester: 'dashboard' } })),
    onSuccess: () => { setAsks(false); void queries.invalidateQueries({ queryKey: ['repositories'] }) },
  })
  if (!repository.clockAhead) return null
  return (
    <Notice tone="warn" title={`The daemon’s clock is ${duration(seconds(repository.clockAhead))} ahead of the time that this repository has seen pass`}>
      <Text size="sm">
        That is so when the clock was set wrong, or the daemon was off for long. Until somebody says that the clock is right, removed recovery points wait longer before a prune deletes them, so that a wrong clock can’t delete anything. Locks are kept in any case.
      </Text>
      {canEverywhere(identity.data, 'repositories.manage') && <Button mt="xs" size="xs" onClick={() => setAsks(true)}>The clock is right</Button>}
      <Confirm opened={asks} onClose={() => setAsks(false)} title="Is the clock right?" action="Yes, it is right" busy={confirm.isPending} error={confirm.error} onConfirm={() => confirm.mutate()}>
        <Text>The daemon’s machine says that it is now <When value={new Date().toISOString()} exact /> by this browser. After the confirmation, removed recovery points whose time is over by the daemon’s clock are deleted by the next prune and can’t be brought back.</Text>
      </Confirm>
    </Notice>
  )
}

function Usage({ repository }: { repository: Repository }) {
  const stored = num(repository.storedBytes)
  const free = num(repository.freeBytes)
  const days = repository.days ?? []
  const full = fullWords(daysUntilFull(days, free))
  return (
    <Panel title="Usage" aside={<RepositoryState repository={repository} />}>
      <div className="picture" role="img" aria-label={`${bytes(stored)} used, ${bytes(free)} free`}>
        <span className="fill-good" style={{ flexGrow: stored }} /><span style={{ flexGrow: free }} />
      </div>
      <Text size="sm" my="xs">{bytes(stored)} used, {bytes(free)} free{full && `, ${full} at this growth`}.</Text>
      <dl className="fields">
        <Field label="Recovery points">{num(repository.recoveryPointCount).toLocaleString('en-GB')}</Field>
        <Field label="They hold">{bytes(repository.logicalBytes)}</Field>
        <Field label="Saved">{bytes(savedBytes(repository))}</Field>
        <Field label="Deduplication">{(repository.dedupRatio ?? 0).toFixed(1)} times</Field>
        <Field label="Compression">{(repository.compressionRatio ?? 0).toFixed(1)} times</Field>
        <Field label="Grew since yesterday">{days.at(-1)?.growthBytes === undefined ? 'not known yet' : bytes(days.at(-1)?.growthBytes)}</Field>
        <Field label="Folder on the daemon’s machine">{repository.location}</Field>
        <Field label="Id">{repository.uuid}</Field>
        <Field label="Made"><When value={repository.createTime} /></Field>
        <Field label="Chunks, packs">{num(repository.chunkCount).toLocaleString('en-GB')}, {num(repository.packCount).toLocaleString('en-GB')}</Field>
      </dl>
      {days.length < 2 ? <Empty>The picture of its growth begins with the second day.</Empty> : <GrowthChart repository={repository} />}
    </Panel>
  )
}

function Soundness({ repository }: { repository: Repository }) {
  const found = repository.verification
  const damaged = found?.damagedRecoveryPoints ?? []
  const quarantined = num(found?.quarantinedPackCount)
  return (
    <Panel title="Is what is stored sound?">
      <dl className="fields">
        <Field label="Packs never verified">{num(found?.neverVerifiedCount).toLocaleString('en-GB')} of {num(repository.packCount).toLocaleString('en-GB')}</Field>
        <Field label="Oldest verification"><When value={found?.oldestVerifyTime} /></Field>
        <Field label="Packs in quarantine">{quarantined}</Field>
        <Field label="Damaged places">{num(found?.damagedPlaceCount)}</Field>
      </dl>
      {quarantined > 0 && (
        <Notice tone="warn" title="Damage is in quarantine">
          No backup relies on what was found damaged: the next backup of a machine that has the same data stores it again, and every recovery point that needs it is whole then. Look at the health of the repository’s disk.
        </Notice>
      )}
      {damaged.length > 0 && (
        <Notice tone="bad" title={`${count(damaged.length, 'recovery point')} can’t be restored whole`}>
          <Text size="sm">Back up their machines now, while they still have the data: that heals what can be healed. Everything else of these points can be restored.</Text>
          <ul>{damaged.slice(0, 20).map((point) => <DamagedPoint key={point} name={point} />)}</ul>
          {damaged.length > 20 && <Text size="sm">and {damaged.length - 20} more: umbra repository show has all of them</Text>}
        </Notice>
      )}
      {damaged.length === 0 && quarantined === 0 && <Text size="sm" mt="sm">Nothing that was looked at is damaged.</Text>}
    </Panel>
  )
}

function DamagedPoint({ name }: { name: string }) {
  const point = useQuery({ ...pointQuery(idOf(name)), retry: false })
  const places = (point.data?.damage ?? []).filter((place) => !place.healedTime)
  return (
    <li>
      {point.data
        ? <><MachineLink name={point.data.virtualMachine || point.data.fileSet || ''} known={point.data.virtualMachineDisplayName} /> of <When value={point.data.pointTime} exact /></>
        : idOf(name)}
      {places.length > 0 && `: ${count(places.length, 'place')}, ${bytes(places.reduce((sum, place) => sum + num(place.lengthBytes), 0))} on ${[...new Set(places.map((place) => place.disk))].join(', ')}`}
    </li>
  )
}

const SHOWN_RUNS = 8

function Upkeep({ repository }: { repository: Repository }) {
  const id = idOf(repository.name)
  const identity = useQuery(identityQuery)
  const verifications = useQuery(upkeepQuery('verify', id))
  const prunes = useQuery(upkeepQuery('prune', id))
  const [asks, setAsks] = useState<'' | 'verify' | 'prune'>('')
  const may = can(identity.data, 'maintenance.run')
  return (
    <div className="grid">
      <Panel title="Verifications" aside={may && <Button size="compact-sm" onClick={() => setAsks('verify')}>Verify…</Button>}>
        <Loaded query={verifications}>
          {(jobs) => jobs.length === 0
            ? <Empty>None yet. A verification reads what is stored and compares it with what was written, so that damage is found before a restore finds it.</Empty>
            : <Runs jobs={jobs} />}
        </Loaded>
      </Panel>
      <Panel title="Prunes" aside={may && <Button size="compact-sm" onClick={() => setAsks('prune')}>Prune…</Button>}>
        <Loaded query={prunes}>
          {(jobs) => jobs.length === 0 ? <Empty>None yet. A prune gives back the space of what was removed and whose time to be brought back is over.</Empty> : <Runs jobs={jobs} />}
        </Loaded>
      </Panel>
      {asks === 'verify' && <VerifyDialog repository={repository.name ?? ''} close={() => setAsks('')} />}
      {asks === 'prune' && <PruneDialog repository={repository.name ?? ''} close={() => setAsks('')} />}
    </div>
  )
}

function Runs({ jobs }: { jobs: Job[] }) {
  return (
    <Stack gap="xs">
      {jobs.slice(0, SHOWN_RUNS).map((job) => (
        <div key={job.name}>
          <Group gap="xs">
            <JobTag job={job} /><JobLink job={job} />
            <span className="dim">{job.prune?.dryRun ? 'dry run, ' : ''}{enumWords(job.verify?.level, 'LEVEL_')} <When value={job.createTime} />{isFinal(job) && `, took ${duration(elapsedSeconds(job, Date.now()))}`}</span>
          </Group>
          {!isFinal(job) && <JobProgressBar job={job} label={idOf(job.name)} />}
          {job.state === 'STATE_FAILED' && job.error && <Advice message={job.error} />}
          {isFinal(job) && job.pruneResult && <Text size="sm" className="dim">{pruneWords(job)}</Text>}
        </div>
      ))}
      {jobs.length > SHOWN_RUNS && <Anchor component={Link} to={`/jobs?kind=${jobs[0]?.verify ? 'verify' : 'prune'}`} size="sm">All of them</Anchor>}
    </Stack>
  )
}

function pruneWords(job: Job): string {
  const result = job.pruneResult
  const would = job.prune?.dryRun ? 'would be ' : ''
  return `${count(num(result?.deletedPointCount), 'removed point')} ${would}deleted, ${bytes(result?.freedBytes)} ${would}given back, ${bytes(result?.copiedBytes)} ${would}copied`
}

const LEVELS = [
  { value: 'LEVEL_STORED', label: 'The stored bytes are those that were written (quickest)' },
  { value: 'LEVEL_FULL', label: 'And every chunk is what it claims to be' },
  { value: 'LEVEL_DISKS', label: 'And every disk of every point is read whole (slowest)' },
] as const

function VerifyDialog({ repository, close }: { repository: string; close: () => void }) {
  const navigate = useNavigate()
  const [level, setLevel] = useState<(typeof LEVELS)[number]['value']>('LEVEL_FULL')
  const [hours, setHours] = useState('')
  const [requestId] = useState(() => crypto.randomUUID())
  const run = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', {
      params: { query: { requestId } },
      body: { verify: { repository, level, ...(Number(hours) > 0 ? { timeBudget: `${Math.round(Number(hours) * 3600)}s` } : {}) } },
    })),
    onSuccess: (job) => navigate(`/jobs/${idOf(job.name)}`),
  })
  return (
    <Dialog opened onClose={close} title={`Verify ${idOf(repository)}`}>
      <Stack>
        <Text size="sm">Nothing stored is changed. What was verified least recently comes first; backups and restores go on.</Text>
        <NativeSelect label="How thorough" value={level} onChange={(event) => setLevel(event.currentTarget.value as typeof level)} data={[...LEVELS]} data-autofocus />
        <TextInput type="number" label="Hours at most" description="Empty: until everything is verified" min={0} max={168} value={hours} onChange={(event) => setHours(event.currentTarget.value)} />
        {run.error ? <Problem error={run.error} /> : null}
        <Group justify="flex-end"><Button loading={run.isPending} onClick={() => run.mutate()}>Verify</Button></Group>
      </Stack>
    </Dialog>
  )
}

/** First what it would do, then, when somebody has seen that, the prune itself. */
export function PruneDialog({ repository, close }: { repository: string; close: () => void }) {
  const navigate = useNavigate()
  const start = (dryRun: boolean) => body<Job>(api.POST('/v1/jobs', { params: { query: { requestId: crypto.randomUUID() } }, body: { prune: { repository, dryRun } } }))
  const dry = useMutation({ mutationFn: () => start(true) })
  const run = useMutation({ mutationFn: () => start(false), onSuccess: (job) => navigate(`/jobs/${idOf(job.name)}`) })
  const job = useQuery(awaitedJobQuery(idOf(dry.data?.name)))
  const result = job.data?.state === 'STATE_SUCCEEDED' ? job.data.pruneResult : undefined
  return (
    <Dialog opened onClose={close} title={`Prune ${idOf(repository)}`}>
      <Stack>
        <Text size="sm">A prune deletes for good what was removed and whose time to be brought back is over, and gives its space back. Recovery points that can be seen in lists, held and locked ones are never touched.</Text>
        {result ? (
          <Notice tone="warn" title="What it would do now">
            <dl className="fields">
              <Field label="Removed points deleted for good">{num(result.deletedPointCount).toLocaleString('en-GB')}</Field>
              <Field label="Given back">{bytes(result.freedBytes)} in {count(num(result.deletedPackCount), 'pack')}</Field>
              <Field label="Copied for that">{bytes(result.copiedBytes)}</Field>
              <Field label="Waits for its time">{bytes(result.waitingBytes)}</Field>
              <Field label="Needed by points">{bytes(result.neededBytes)}</Field>
            </dl>
            {num(result.deletedPointCount) > 0 && <Text size="sm">The deleted points can’t be brought back after that, by nobody.</Text>}
          </Notice>
        ) : (
          <>
            {dry.data && (!job.data || !isFinal(job.data)) && <Text role="status">The daemon looks at what could go…</Text>}
            {job.data && isFinal(job.data) && job.data.error && <Notice tone="bad" title="The dry run failed" role="alert"><Advice message={job.data.error} /></Notice>}
            {job.error ? <Problem error={job.error} /> : null}
          </>
        )}
        {dry.error ?? run.error ? <Problem error={dry.error ?? run.error} /> : null}
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>Keep as it is</Button>
          {result
            ? <Button color="red" loading={run.isPending} onClick={() => run.mutate()}>Prune now</Button>
            : <Button loading={dry.isPending || (dry.data !== undefined && !(job.data && isFinal(job.data)))} onClick={() => dry.mutate()} data-autofocus>Show what it would do</Button>}
        </Group>
      </Stack>
    </Dialog>
  )
}

function Rebuild({ repository }: { repository: string }) {
  const queries = useQueryClient()
  const [asks, setAsks] = useState(false)
  const rebuild = useMutation({
    mutationFn: () => body(api.POST('/v1/repositories/{repository}:rebuildCatalog', { params: { path: { repository } }, body: {} })),
    onSuccess: () => { setAsks(false); void queries.invalidateQueries() },
  })
  return (
    <Panel title="List of its recovery points" aside={<Button size="compact-sm" variant="default" onClick={() => setAsks(true)}>Read it anew…</Button>}>
      <Text size="sm">The daemon’s catalog has a list of the points in this repository. After the repository was copied back or moved, it can be made anew from what is really there.</Text>
      {rebuild.data && (
        <Notice tone={(rebuild.data.problems ?? []).length > 0 ? 'warn' : 'good'} title="The list is made anew" role="status">
          {count(num(rebuild.data.foundCount), 'point')} found, {num(rebuild.data.addedCount)} added, {num(rebuild.data.removedCount)} taken off the list.
          {(rebuild.data.problems ?? []).map((problem) => <Text key={problem} size="sm" className="wrap">{problem}</Text>)}
        </Notice>
      )}
      <Confirm opened={asks} danger={false} onClose={() => setAsks(false)} title="Make the list anew?" action="Read the repository" busy={rebuild.isPending} error={rebuild.error} onConfirm={() => rebuild.mutate()}>
        <Text>Nothing stored is changed. Points that the repository doesn’t have disappear from the lists; points that it has and that were missing appear.</Text>
      </Confirm>
    </Panel>
  )
}
