// Who did what, and whether the log of it is whole.
import { Button, Checkbox, Code, Group, Stack, Text, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useInfiniteQuery, useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import { auditQuery } from '../../api/admin_queries'
import { api, body, type AuditEntry } from '../../api/client'
import { num } from '../../logic/format'
import { methodOf, methodWords } from '../../logic/grants'
import { Copyable, Dialog, Empty, Field, Loaded, Notice, Page, Problem, Tag, When } from '../../ui/parts'
import { VirtualTable, type Column } from '../../ui/virtual_table'
import { useFilters } from '../../ui/use_filters'

const KEYS = ['principal', 'method', 'object'] as const

export default function Audit() {
  const [params, set] = useFilters()
  const [verifies, setVerifies] = useState(false)
  const [shown, setShown] = useState<AuditEntry | undefined>()
  const text = (key: string) => params.get(key) ?? ''
  const failuresOnly = text('failures') === '1'
  const [filter] = useDebouncedValue({ principal: text('principal'), method: methodOf(text('method')), object: text('object'), failuresOnly }, 250)
  const query = useInfiniteQuery(auditQuery(filter))
  const columns: Column<AuditEntry>[] = [
    { head: 'When', width: '0.9fr', cell: (entry) => <When value={entry.time} /> },
    { head: 'Who', width: '1.2fr', cell: (entry) => entry.principal },
    { head: 'From', width: '1fr', cell: (entry) => entry.peer },
    { head: 'What', width: '1.6fr', cell: (entry) => methodWords(entry.method) },
    { head: 'Of', width: '1.6fr', cell: (entry) => entry.object || <span className="dim">the whole system</span> },
    { head: 'How it ended', width: '1.4fr', cell: (entry) => (entry.code === 'OK' ? <Tag tone="good">OK</Tag> : <Tag tone="bad">{entry.reason || entry.code}</Tag>) },
    { head: 'More', width: '0.7fr', cell: (entry) => <Button size="compact-xs" variant="default" aria-label={`Show entry ${entry.number}`} onClick={() => setShown(entry)}>Show</Button> },
  ]
  const filtered = failuresOnly || KEYS.some((key) => text(key) !== '')
  return (
    <Page title="Audit log" actions={<Button variant="default" onClick={() => setVerifies(true)}>Check the log…</Button>}>
      <Group align="flex-end">
        <TextInput label="Who" placeholder="users/eva" value={text('principal')} onChange={(event) => set('principal', event.currentTarget.value)} />
        <TextInput label="What" placeholder="JobService.CreateJob" value={text('method')} onChange={(event) => set('method', event.currentTarget.value)} />
        <TextInput label="Of" placeholder="policies/nightly" value={text('object')} onChange={(event) => set('object', event.currentTarget.value)} />
        <Checkbox label="Only what was refused or failed" checked={failuresOnly} onChange={(event) => set('failures', event.currentTarget.checked ? '1' : '')} />
      </Group>
      <Loaded query={query} rows={8}>
        {(data) => {
          const rows = data.pages.flatMap((page) => page.entries ?? [])
          if (rows.length === 0 && !query.hasNextPage) return <Empty>{filtered ? 'No entry is like that. Names are compared whole, as the log has them.' : 'Nothing was done yet.'}</Empty>
          return (
            <VirtualTable label="Audit log" columns={columns} rows={rows} keyOf={(entry) => entry.number ?? ''} hasMore={query.hasNextPage} loading={query.isFetchingNextPage}
              more={() => void query.fetchNextPage()} footer={query.hasNextPage ? `the newest ${rows.length.toLocaleString('en-GB')}; scroll for older ones` : `${rows.length.toLocaleString('en-GB')} in all`} />
          )
        }}
      </Loaded>
      {verifies && <VerifyDialog close={() => setVerifies(false)} />}
      {shown && <EntryDialog entry={shown} close={() => setShown(undefined)} />}
    </Page>
  )
}

function pretty(json: string | undefined): string {
  try {
    return JSON.stringify(JSON.parse(json ?? ''), null, 2)
  } catch {
    return json ?? '' // cut, so no JSON any more
  }
}

function EntryDialog({ entry, close }: { entry: AuditEntry; close: () => void }) {
  return (
    <Dialog opened onClose={close} title={`Entry ${entry.number}`}>
      <Stack>
        <dl className="fields">
          <Field label="When"><When value={entry.time} exact /></Field>
          <Field label="Who">{entry.principal}</Field>
          <Field label="From">{entry.peer}</Field>
          <Field label="What">{methodWords(entry.method)}</Field>
          <Field label="Of">{entry.object || 'the whole system'}</Field>
          <Field label="How it ended">{entry.code} {entry.reason}</Field>
        </dl>
        <Text size="sm" fw={500}>Request, without secrets</Text>
        <Code block className="wrap" tabIndex={0}>{pretty(entry.request)}</Code>
        <Text size="xs" className="dim wrap">Hash: {entry.hash}</Text>
      </Stack>
    </Dialog>
  )
}

function VerifyDialog({ close }: { close: () => void }) {
  const [number, setNumber] = useState('')
  const [hash, setHash] = useState('')
  const verify = useMutation({
    mutationFn: () => body(api.GET('/v1/auditEntries:verify', { params: { query: number || hash ? { knownNumber: number, knownHash: hash.trim() } : {} } })),
  })
  const result = verify.data
  return (
    <Dialog opened onClose={close} title="Check the audit log">
      <Stack>
        <Text size="sm">Each entry’s hash holds the one before: an entry that was changed or taken out shows. Who can write the whole log could make all hashes anew, so keep number and hash of the newest entry somewhere else, and enter them at the next check.</Text>
        <Group grow>
          <TextInput label="Number noted at an earlier check" inputMode="numeric" value={number} onChange={(event) => setNumber(event.currentTarget.value.replace(/\D/g, ''))} data-autofocus />
          <TextInput label="Its hash" value={hash} onChange={(event) => setHash(event.currentTarget.value)} />
        </Group>
        {verify.error ? <Problem error={verify.error} /> : null}
        {result && (num(result.firstBroken) > 0 || result.problem
          ? <Notice tone="bad" title={`The log is not whole${num(result.firstBroken) > 0 ? `, from entry ${result.firstBroken} on` : ''}`} role="alert">{result.problem} Somebody, or a damaged disk, changed the catalog: compare it with its copies (umbrad restore-catalog), and find out who had access to the daemon’s machine.</Notice>
          : (
            <>
              <Notice tone="good" title="The log is whole" role="status">{num(result.entryCount).toLocaleString('en-GB')} entries were checked. Keep this somewhere else:</Notice>
              <Copyable label="number and hash" text={`${result.newestNumber ?? ''} ${result.newestHash ?? ''}`} />
            </>
          ))}
        <Group justify="flex-end"><Button loading={verify.isPending} disabled={(number === '') !== (hash.trim() === '')} onClick={() => verify.mutate()}>Check</Button></Group>
      </Stack>
    </Dialog>
  )
}
