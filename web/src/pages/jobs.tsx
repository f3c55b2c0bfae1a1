import { Checkbox, Group, NativeSelect } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useSearchParams } from 'react-router'
import type { Job } from '../api/client'
import { jobsQuery } from '../api/queries'
import { bytes, duration, idOf, num, percent, rate } from '../logic/format'
import { elapsedSeconds, isFinal } from '../logic/jobs'
import { JobLink, JobSubject, JobTag, waitAdvice } from '../ui/job_parts'
import { Empty, Loaded, Page, When } from '../ui/parts'
import { VirtualTable, type Column } from '../ui/virtual_table'

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
  const [params, setParams] = useSearchParams()
  const kind = params.get('kind') ?? ''
  const active = params.get('active') === '1'
  const query = useInfiniteQuery(jobsQuery(kind, active, params.get('policy') ?? ''))
  const set = (key: string, value: string) =>
    setParams((before) => {
      if (value) before.set(key, value)
      else before.delete(key)
      return before
    }, { replace: true })
  return (
    <Page title="Jobs">
      <Group>
        <NativeSelect aria-label="Kind" value={kind} onChange={(event) => set('kind', event.currentTarget.value)}
          data={[{ value: '', label: 'All kinds' }, { value: 'backup', label: 'Backups' }, { value: 'restore', label: 'Restores' }, { value: 'verify', label: 'Verifications' }, { value: 'prune', label: 'Prunes' }]} />
        <Checkbox label="Only those that have not ended" checked={active} onChange={(event) => set('active', event.currentTarget.checked ? '1' : '')} />
      </Group>
      <Loaded query={query} rows={8}>
        {(data) => {
          const rows = data.pages.flatMap((page) => page.jobs ?? [])
          if (rows.length === 0 && !query.hasNextPage) {
            return <Empty>{active ? 'Nothing runs and nothing waits.' : 'No job yet. Policies start them; on a machine’s page “Back up now” does.'}</Empty>
          }
          return (
            <VirtualTable label="Jobs" columns={COLUMNS} rows={rows} keyOf={(job) => job.name ?? ''} hasMore={query.hasNextPage} loading={query.isFetchingNextPage}
              more={() => void query.fetchNextPage()} footer={query.hasNextPage ? `the newest ${rows.length.toLocaleString('en-GB')}; scroll for older ones` : `${rows.length.toLocaleString('en-GB')} in all`} />
          )
        }}
      </Loaded>
    </Page>
  )
}
