// The files of a recovery point, to choose one or a folder of them.
import { Button, Group, Stack, Text, TextInput } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'
import { pointFilesQuery } from '../api/queries'
import { bytes, count } from '../logic/format'
import { entriesOf, found, parentOf, type Entry } from '../logic/file_tree'
import { Loaded, When } from './parts'
import { VirtualTable, type Column } from './virtual_table'

// Some 100,000 files are read by themselves; what is further away takes a word.
const PAGES_BY_ITSELF = 100

export function FileBrowser({ point, chosen, choose }: { point: string; chosen: string; choose: (path: string) => void }) {
  const query = useInfiniteQuery(pointFilesQuery(point))
  const [folder, setFolder] = useState('')
  const [text, setText] = useState('')
  const files = useMemo(() => (query.data?.pages ?? []).flatMap((page) => page.files ?? []), [query.data])
  const rows = useMemo(() => (text.trim() === '' ? entriesOf(files, folder) : found(files, text.trim())), [files, folder, text])
  const asksForMore = query.hasNextPage && (query.data?.pages.length ?? 0) < PAGES_BY_ITSELF
  const columns: Column<Entry>[] = [
    {
      head: 'Name', width: '3fr',
      cell: (entry) => entry.folder
        ? <Button size="compact-sm" variant="subtle" onClick={() => { setFolder(entry.path); setText('') }} aria-label={`Open ${entry.path}`}>{text ? entry.path : entry.name}/</Button>
        : <span title={entry.path}>{text ? entry.path : entry.name}{entry.file.linkTarget && <span className="dim"> → {entry.file.linkTarget}</span>}</span>,
    },
    { head: 'Size', width: '1fr', cell: (entry) => (entry.folder ? '' : bytes(entry.file.sizeBytes)) },
    { head: 'Changed', width: '1fr', cell: (entry) => <When value={entry.file.modifyTime} /> },
    {
      head: 'Restore', width: '1fr',
      cell: (entry) => <Button size="compact-sm" variant={entry.path === chosen ? 'filled' : 'default'} aria-pressed={entry.path === chosen} onClick={() => choose(entry.path === chosen ? '' : entry.path)} aria-label={`Only ${entry.path}`}>{entry.path === chosen ? 'Chosen' : 'Only this'}</Button>,
    },
  ]
  return (
    <Stack gap="xs" role="group" aria-label="Files of the recovery point">
      <Group align="flex-end">
        <Button size="xs" variant="default" disabled={folder === '' || text !== ''} onClick={() => setFolder(parentIn(files.map((file) => file.path ?? ''), folder))}>Up</Button>
        <Text size="sm" className="grow wrap">{text ? 'Found in all folders' : folder || 'The folders that were backed up'}</Text>
        <TextInput type="search" size="xs" aria-label="Search files" placeholder="Search in all folders" value={text} onChange={(event) => setText(event.currentTarget.value)} />
      </Group>
      <Loaded query={query} rows={6}>
        {() => (
          <VirtualTable label="Files" columns={columns} rows={rows} keyOf={(entry) => entry.path} short hasMore={asksForMore} loading={query.isFetchingNextPage || query.isError} more={() => void query.fetchNextPage()}
            footer={`${count(rows.length, 'entry', 'entries')} here, of ${count(files.length, 'file')} read${query.hasNextPage ? ' so far' : ''}`} />
        )}
      </Loaded>
      {query.hasNextPage && !asksForMore && (
        <Group><Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Read further files</Button><Text size="sm">Or type the path below.</Text></Group>
      )}
    </Stack>
  )
}

/** The folder above; "" when that wasn't backed up itself. */
function parentIn(paths: string[], folder: string): string {
  const parent = parentOf(folder)
  return paths.includes(parent) ? parent : ''
}
