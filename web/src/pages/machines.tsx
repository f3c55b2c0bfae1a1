// All machines, or those that coverage calls at risk: as many as there are, page by page from the daemon.
import { Anchor, Button, Group, SegmentedControl, Table, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { Link } from 'react-router'
import type { Coverage, VirtualMachine } from '../api/client'
import { fileSetsQuery, hostsQuery, readCoverage, readMachines } from '../api/queries'
import { duration, enumWords, idOf, machineIds, seconds } from '../logic/format'
import { filterOf } from '../logic/filter'
import { Listed } from '../ui/listed'
import { Empty, Loaded, Page, Tag, When } from '../ui/parts'
import { type Column } from '../ui/virtual_table'
import { useFilters } from '../ui/use_filters'

const SHOWS = [
  { value: 'all', label: 'All' },
  { value: 'coverage', label: 'Protection' },
  { value: 'never', label: 'Never backed up' },
  { value: 'late', label: 'Too old' },
  { value: 'unprotected', label: 'No policy' },
  { value: 'files', label: 'File sets' },
]

export default function Machines() {
  const [params, set] = useFilters()
  const show = SHOWS.some((known) => known.value === params.get('show')) ? (params.get('show') ?? 'all') : 'all'
  return (
    <Page title="Virtual machines" actions={params.get('host') && <Button variant="default" size="xs" onClick={() => set('host', '')}>One host only: show all</Button>}>
      <Group>
        <div className="scroll"><SegmentedControl aria-label="Which machines" value={show} onChange={(value) => set('show', value === 'all' ? '' : value)} data={SHOWS} transitionDuration={0} /></div>
        {show === 'all' && <Search text={params.get('q') ?? ''} change={(text) => set('q', text)} />}
      </Group>
      {show === 'all' ? <AllMachines text={params.get('q') ?? ''} host={params.get('host') ?? '-'} /> : show === 'files' ? <FileSets /> : <Covered key={show} show={show} />}
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
  const filter = filterOf(text)
  return (
    <Listed name="Virtual machines" listKey={['machines', 'list', host, filter]} read={(token) => readMachines(host, filter, token)} columns={MACHINE_COLUMNS} keyOf={(row) => row.name ?? ''}
      empty={text ? <>No machine matches “{text}”. Labels are searched as label.KEY=VALUE, hosts as host=NAME.</>
        : <>No virtual machine is known yet. <Anchor component={Link} to="/hosts?enrol=1">Enrol a host</Anchor>: its machines appear by themselves.</>} />
  )
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

const COVERED_EMPTY: Record<string, string> = {
  late: 'Every promise is kept.', unprotected: 'A policy selects every machine.', never: 'Every machine has been backed up.', coverage: 'No virtual machine is known yet.',
}

function Covered({ show }: { show: string }) {
  const filter = show === 'late' ? 'FILTER_RPO_MISSED' : show === 'unprotected' ? 'FILTER_UNPROTECTED' : 'FILTER_UNSPECIFIED'
  return (
    <Listed name="Protection of virtual machines" listKey={['coverage', 'list', show]} read={(token) => readCoverage(filter, show === 'never', token)} columns={COVERAGE_COLUMNS} keyOf={(row) => row.virtualMachine ?? ''}
      empty={COVERED_EMPTY[show]} />
  )
}

/** The folders of hosts that are backed up beside machines. */
function FileSets() {
  const sets = useQuery(fileSetsQuery)
  const hosts = useQuery(hostsQuery)
  const hostName = (name: string) => hosts.data?.find((host) => host.name === `hosts/${name}`)?.displayName ?? name
  return (
    <Loaded query={sets} rows={4}>
      {(all) => all.length === 0 ? <Empty>No host names folders to back up. They are set up in umbra-agent.toml on the host ([[file_set]]), and appear here by themselves.</Empty> : (
        <div className="scroll">
          <Table>
            <Table.Thead><Table.Tr><Table.Th>File set</Table.Th><Table.Th>Host</Table.Th><Table.Th>Folders</Table.Th><Table.Th>Last reported</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>
              {all.map((set) => {
                const [, host = '', , id = ''] = (set.name ?? '').split('/')
                return (
                  <Table.Tr key={set.name}>
                    <Table.Td><Anchor component={Link} to={`/file-sets/${host}/${id}`}>{set.displayName || id}</Anchor></Table.Td>
                    <Table.Td>{hostName(host)}</Table.Td>
                    <Table.Td className="wrap">{(set.folders ?? []).map((folder) => folder.path).join(', ')}</Table.Td>
                    <Table.Td><When value={set.updateTime} /></Table.Td>
                  </Table.Tr>
                )
              })}
            </Table.Tbody>
          </Table>
        </div>
      )}
    </Loaded>
  )
}
