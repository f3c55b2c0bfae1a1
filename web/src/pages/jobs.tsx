import { Button, Checkbox, Group, NativeSelect } from '@mantine/core'
import type { Job } from '../api/client'
import { liveJobs, readJobs } from '../api/queries'
import { bytes, duration, idOf, num, percent, rate } from '../logic/format'
import { elapsedSeconds, isFinal } from '../logic/jobs'
import { JobLink, JobSubject, JobTag, waitAdvice } from '../ui/job_parts'
import { Listed } from '../ui/listed'
import { Page, When } from '../ui/parts'
import { type Column } from '../ui/virtual_table'
import { useFilters } from '../ui/use_filters'

function Doing({ job }: { job: Job }) {
  if (job.state === 'STATE_QUEUED') return job.waitReason ? <span title={waitAdvice(job.waitReason)}>{job.waitReason}</span> : <span className="dim">is next</span>
  if (job.state === 'STATE_FAILED') return <span title={job.error?.message}>{job.error?.message || job.error?.reason}</span>
  const total = num(job.progress?.totalBytes)
  if (isFinal(job)) return total > 0 ? <>{bytes(job.progress?.readBytes)} read, {bytes(job.progress?.storedBytes)} stored</> : <></>
  return total > 0 ? <>{percent(num(job.progress?.doneBytes), total)} % of {bytes(total)}, {rate(job.progress?.rateBytesPerSecond)}</> : <></>
}

const COLUMNS: Column<Job>[] = [
  { head: 'Job', width: '0.9fr', cell: (job) => <JobLink job={job} /> },
  { head: 'State', width: '1.6fr', cell: (job) => <JobTag job={job} /> },
  { head: 'Of', width: '1.8fr', cell: (job) => <JobSubject job={job} /> },
  { head: 'What happens', width: '2.6fr', cell: (job) => <Doing job={job} /> },
  { head: 'Created', width: '0.9fr', cell: (job) => <When value={job.createTime} /> },
  { head: 'Took', width: '0.8fr', cell: (job) => (isFinal(job) ? duration(elapsedSeconds(job, Date.now())) : '') },
  { head: 'Policy', width: '0.9fr', cell: (job) => idOf(job.policy) || <span className="dim">a person</span> },
]

export default function Jobs() {
  const [params, set] = useFilters()
  const kind = params.get('kind') ?? ''
  const active = params.get('active') === '1'
  const policy = params.get('policy') ?? ''
  return (
    <Page title="Jobs">
      <Group>
        <NativeSelect aria-label="Kind" value={kind} onChange={(event) => set('kind', event.currentTarget.value)}
          data={[{ value: '', label: 'All kinds' }, { value: 'backup', label: 'Backups' }, { value: 'restore', label: 'Restores' }, { value: 'verify', label: 'Verifications' }, { value: 'prune', label: 'Prunes' }]} />
        <Checkbox label="Only those that have not ended" checked={active} onChange={(event) => set('active', event.currentTarget.checked ? '1' : '')} />
        {policy && <Button variant="default" size="xs" onClick={() => set('policy', '')}>Of {idOf(policy)} only: show all</Button>}
      </Group>
      <Listed name="Jobs" listKey={['jobs', 'list', kind, String(active), policy]} read={(token) => readJobs(kind, active, policy, token)} live={liveJobs} columns={COLUMNS} keyOf={(job) => job.name ?? ''}
        empty={active ? 'Nothing runs and nothing waits.' : 'No job yet. Policies start them; on a machine’s page “Back up now” does.'} />
    </Page>
  )
}
