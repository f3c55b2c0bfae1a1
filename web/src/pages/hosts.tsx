import { Anchor, Button, Group, NativeSelect, Stack, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'react-router'
import { api, body, type Host } from '../api/client'
import { hostsQuery, identityQuery } from '../api/queries'
import { count, idOf, num, time } from '../logic/format'
import { enrolCommand } from '../logic/enrol'
import { findHosts, hostStanding, labelWords, STANDING_WORDS } from '../logic/hosts'
import { can } from '../logic/permissions'
import { Copyable, Dialog, Empty, Loaded, Notice, Page, Problem, Tag, When } from '../ui/parts'
import { useZone } from '../ui/preferences'
import { VirtualTable, type Column } from '../ui/virtual_table'
import { useFilters } from '../ui/use_filters'

export function HostTag({ host }: { host: Host }) {
  const { word, tone } = STANDING_WORDS[hostStanding(host)]
  return <Tag tone={tone}>{word}</Tag>
}

function why(host: Host): string {
  return host.agentProblem || host.hypervisorError || (host.drained ? host.drainNote : '') || ''
}

const COLUMNS: Column<Host>[] = [
  { head: 'Host', width: '1.6fr', cell: (host) => <Anchor component={Link} to={`/hosts/${idOf(host.name)}`}>{host.displayName}</Anchor> },
  { head: 'State', width: '1.8fr', cell: (host) => <span title={why(host)}><HostTag host={host} /> {why(host)}</span> },
  { head: 'Machines', width: '0.8fr', cell: (host) => <Anchor component={Link} to={`/machines?host=${idOf(host.name)}`} aria-label={`${num(host.virtualMachineCount)} machines of ${host.displayName}`}>{num(host.virtualMachineCount)}</Anchor> },
  { head: 'Works on', width: '0.8fr', cell: (host) => (num(host.workingJobCount) > 0 ? count(num(host.workingJobCount), 'job') : '–') },
  { head: 'Agent', width: '0.7fr', cell: (host) => host.agentVersion },
  { head: 'Hypervisor', width: '1.4fr', cell: (host) => host.hypervisor },
  { head: 'Last seen', width: '0.8fr', cell: (host) => <When value={host.lastSeenTime} /> },
  { head: 'Labels', width: '1.2fr', cell: (host) => labelWords(host.labels) },
]

const STANDINGS = [{ value: '', label: 'All states' }, ...Object.entries(STANDING_WORDS).map(([value, { word }]) => ({ value, label: word }))]

export default function Hosts() {
  const hosts = useQuery(hostsQuery)
  const identity = useQuery(identityQuery)
  const [params, set] = useFilters()
  const mayEnrol = can(identity.data, 'hosts.enrol')
  const enrol = params.get('enrol') === '1' && mayEnrol
  const text = params.get('q') ?? ''
  const state = params.get('state') ?? ''
  return (
    <Page title="Hosts" actions={mayEnrol && <Button onClick={() => set('enrol', '1')}>Enrol a host</Button>}>
      <Loaded query={hosts} rows={5}>
        {(all) => {
          if (all.length === 0) return <Empty>No host yet. {mayEnrol ? 'Enrol one: the dialog gives the command to run on it.' : 'Somebody who may enrol hosts has to.'}</Empty>
          const rows = findHosts(all, text, state)
          return (
            <>
              <Group>
                <NativeSelect aria-label="State" value={state} onChange={(event) => set('state', event.currentTarget.value)} data={STANDINGS} />
                <TextInput className="grow" type="search" aria-label="Search hosts" placeholder="A part of the name, of a label, or of the agent’s version" value={text} onChange={(event) => set('q', event.currentTarget.value)} />
              </Group>
              {rows.length === 0 ? <Empty>No host is like that. <Link to="/hosts">Show all {all.length}</Link></Empty> : (
                <VirtualTable label="Hosts" columns={COLUMNS} rows={rows} keyOf={(host) => host.name ?? ''} hasMore={false} loading={false} more={() => undefined}
                  footer={rows.length === all.length ? `${count(all.length, 'host')} in all` : `${rows.length.toLocaleString('en-GB')} of ${count(all.length, 'host')}`} />
              )}
            </>
          )
        }}
      </Loaded>
      {enrol && <EnrolDialog close={() => set('enrol', '')} />}
    </Page>
  )
}

const HOUR = 3600

function EnrolDialog({ close }: { close: () => void }) {
  const zone = useZone()
  const [pattern, setPattern] = useState('')
  const [ttl, setTtl] = useState(HOUR)
  const make = useMutation({
    mutationFn: () => body(api.POST('/v1/hosts:createEnrolmentToken', { body: { hostPattern: pattern, ttl: `${ttl}s` } })),
    gcTime: 0,
  })
  return (
    <Dialog opened onClose={close} title="Enrol a host">
      <Stack>
        {make.data ? (
          <>
            <Text>Install umbra-agent on the host, then run there as root:</Text>
            <Copyable label="the command" text={enrolCommand(make.data.token ?? '', make.data.enrolmentAddress ?? '', window.location.hostname)} />
            <Text size="sm">The token is for one host, until {time(make.data.expireTime, zone)}, and is shown only now. The host appears in the list by itself.</Text>
            <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
          </>
        ) : (
          <>
            <TextInput label="Host name" description="A pattern that the host’s name must match, such as hv-3 or hv-*; empty: any" value={pattern} onChange={(event) => setPattern(event.currentTarget.value)} data-autofocus />
            {pattern === '' && <Notice tone="warn">Without a name whoever has the token may enrol any host, also in place of one of the same name.</Notice>}
            <NativeSelect label="The token may be used for" value={String(ttl)} onChange={(event) => setTtl(Number(event.currentTarget.value))}
              data={[{ value: String(HOUR), label: 'one hour' }, { value: String(24 * HOUR), label: 'a day' }, { value: String(7 * 24 * HOUR), label: 'a week' }]} />
            {make.error ? <Problem error={make.error} /> : null}
            <Group justify="flex-end"><Button loading={make.isPending} onClick={() => make.mutate()}>Make the command</Button></Group>
          </>
        )}
      </Stack>
    </Dialog>
  )
}
