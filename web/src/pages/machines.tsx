// All machines, or those that coverage calls at risk: as many as there are, page by page from the daemon.
import { Anchor, Button, Group, SegmentedControl, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { Link, useSearchParams } from 'react-router'
import type { Coverage, VirtualMachine } from '../api/client'
import { coverageQuery, machinesQuery } from '../api/queries'
import { duration, enumWords, idOf, machineIds, seconds } from '../logic/format'
import { filterOf } from '../logic/filter'
import { Empty, Loaded, Page, Tag, When } from '../ui/parts'
import { VirtualTable, type Column } from '../ui/virtual_table'

const SHOWS = [
  { value: 'all', label: 'All' },
  { value: 'coverage', label: 'Protection' },
  { value: 'never', label: 'Never backed up' },
  { value: 'late', label: 'Too old' },
  { value: 'unprotected', label: 'No policy' },
]

export default function Machines() {
  const [params, setParams] = useSearchParams()
  const show = SHOWS.some((known) => known.value === params.get('show')) ? (params.get('show') ?? 'all') : 'all'
  const set = (key: string, value: string) =>
    setParams((before) => {
      if (value) before.set(key, value)
      else before.delete(key)
      return before
    }, { replace: true })
  return (
    <Page title="Virtual machines" actions={params.get('host') && <Button variant="default" size="xs" onClick={() => set('host', '')}>One host only: show all</Button>}>
      <Group>
        <SegmentedControl aria-label="Which machines" value={show} onChange={(value) => set('show', value === 'all' ? '' : value)} data={SHOWS} transitionDuration={0} />
        {show === 'all' && <Search text={params.get('q') ?? ''} change={(text) => set('q', text)} />}
      </Group>
      {show === 'all' ? <AllMachines text={params.get('q') ?? ''} host={params.get('host') ?? '-'} /> : <Covered show={show} />}
    </Page>
  )
}

function Search({ text, change }: { text: string; change: (text: string) => void }) {
  const [typed, setTyped] = useState(text)
  const [settled] = useDebouncedValue(typed, 250)
  useEffect(() => {
    if (settled !== text) change(settled)
  }, [settled]) // only what is typed changes the address; the address was read at the beginning
  return (
    <TextInput className="grow" type="search" aria-label="Search machines" value={typed} onChange={(event) => setTyped(event.currentTarget.value)}
      placeholder='A part of the name, or such as: host=hv-3* and not label.env=test' />
  )
}

export function MachineState({ machine }: { machine: VirtualMachine }) {
  const word = enumWords(machine.state, 'VIRTUAL_MACHINE_STATE_') || 'unknown'
  const tones = { running: 'good', paused: 'warn', saved: 'idle', off: 'idle', crashed: 'bad' } as const
  return <Tag tone={tones[word as keyof typeof tones] ?? 'idle'}>{word}</Tag>
}

function machinePath(name: string | undefined): string {
  const ids = machineIds(name)
  return ids ? `/machines/${ids.host}/${ids.machine}` : '/machines'
}

const MACHINE_COLUMNS: Column<VirtualMachine>[] = [
  { head: 'Name', width: '2.2fr', cell: (row) => <Anchor component={Link} to={machinePath(row.name)}>{row.displayName}</Anchor> },
  { head: 'State', width: '1fr', cell: (row) => <MachineState machine={row} /> },
  {
    head: 'How it is backed up', width: '2.4fr',
    cell: (row) => <span title={row.mechanismMessage}>{enumWords(row.mechanism, 'BACKUP_MECHANISM_') || 'not decided'}{row.mechanismReason && <span className="dim"> ({row.mechanismReason})</span>}</span>,
  },
  { head: 'Recovery point', width: '1fr', cell: (row) => (row.lastRecoveryPoint ? 'yes' : <Tag tone="warn">none</Tag>) },
  { head: 'Labels', width: '1.4fr', cell: (row) => Object.entries(row.labels ?? {}).map(([key, value]) => `${key}=${value}`).join(', ') },
]

function AllMachines({ text, host }: { text: string; host: string }) {
  const query = useInfiniteQuery(machinesQuery(host, filterOf(text)))
  return (
    <Loaded query={query} rows={8}>
      {(data) => {
        const rows = data.pages.flatMap((page) => page.virtualMachines ?? [])
        if (rows.length === 0 && !query.hasNextPage) {
          return text ? <Empty>No machine matches “{text}”. Labels are searched as label.KEY=VALUE, hosts as host=NAME.</Empty>
            : <Empty>No virtual machine is known yet. <Anchor component={Link} to="/hosts?enrol=1">Enrol a host</Anchor>: its machines appear by themselves.</Empty>
        }
        return (
          <VirtualTable label="Virtual machines" columns={MACHINE_COLUMNS} rows={rows} keyOf={(row) => row.name ?? ''} hasMore={query.hasNextPage}
            loading={query.isFetchingNextPage} more={() => void query.fetchNextPage()} footer={footer(rows.length, query.hasNextPage)} />
        )
      }}
    </Loaded>
  )
}

function footer(known: number, more: boolean): string {
  return more ? `${known.toLocaleString('en-GB')} shown so far; scroll for more` : `${known.toLocaleString('en-GB')} in all`
}

const COVERAGE_COLUMNS: Column<Coverage>[] = [
  { head: 'Name', width: '2fr', cell: (row) => <Anchor component={Link} to={machinePath(row.virtualMachine)}>{row.displayName}</Anchor> },
  { head: 'Host', width: '1.4fr', cell: (row) => row.hostDisplayName },
  {
    head: 'Protection', width: '1.1fr',
    cell: (row) => row.rpoMissed && row.lastGoodTime ? <Tag tone="bad">Too old</Tag> : (row.policies ?? []).length === 0 ? <Tag tone="warn">No policy</Tag> : !row.lastGoodTime ? <Tag tone="bad">Never backed up</Tag> : <Tag tone="good">Protected</Tag>,
  },
  { head: 'Newest good point', width: '1.2fr', cell: (row) => <When value={row.lastGoodTime} /> },
  { head: 'Promised age', width: '1fr', cell: (row) => (row.rpo ? duration(seconds(row.rpo)) : <span className="dim">none</span>) },
  { head: 'Policies', width: '1.6fr', cell: (row) => (row.policies ?? []).map(idOf).join(', ') },
]

function Covered({ show }: { show: string }) {
  const filter = show === 'late' ? 'FILTER_RPO_MISSED' : show === 'unprotected' ? 'FILTER_UNPROTECTED' : 'FILTER_UNSPECIFIED'
  const query = useInfiniteQuery(coverageQuery(filter))
  return (
    <Loaded query={query} rows={8}>
      {(data) => {
        const all = data.pages.flatMap((page) => page.coverage ?? [])
        const rows = show === 'never' ? all.filter((row) => !row.lastGoodTime) : all
        if (rows.length === 0 && !query.hasNextPage) {
          return <Empty>{show === 'late' ? 'Every promise is kept.' : show === 'unprotected' ? 'A policy selects every machine.' : show === 'never' ? 'Every machine has been backed up.' : 'No virtual machine is known yet.'}</Empty>
        }
        return (
          <VirtualTable label="Protection of virtual machines" columns={COVERAGE_COLUMNS} rows={rows} keyOf={(row) => row.virtualMachine ?? ''}
            hasMore={query.hasNextPage} loading={query.isFetchingNextPage} more={() => void query.fetchNextPage()} footer={footer(rows.length, query.hasNextPage)} />
        )
      }}
    </Loaded>
  )
}
