// A list as long as the fleet, or as all jobs of years: a table that reads what is looked at, and keeps only that new.
import { useEffect, useReducer, type ReactNode } from 'react'
import { Empty, Loaded } from './parts'
import { usePages, type Page } from './use_pages'
import { VirtualTable, type Column } from './virtual_table'

export function Listed<T>(props: {
  name: string; listKey: string[]; read: (token: string) => Promise<Page<T>>; columns: Column<T>[]; keyOf: (row: T) => string; empty: ReactNode
  /** Milliseconds after which a page that is looked at is asked for again; false: only when an event says so. */
  live?: (rows: T[]) => number | false
}) {
  const pages = usePages(props.listKey, props.read, props.live)
  const [, lookAgain] = useReducer((count: number) => count + 1, 0)
  useEffect(() => { if (pages.again) lookAgain() })
  return (
    <Loaded query={pages} rows={8}>
      {(rows) => rows.length === 0 && pages.whole ? <Empty>{props.empty}</Empty> : (
        <VirtualTable label={props.name} columns={props.columns} rows={rows} keyOf={props.keyOf} look={pages.look} hasMore={false} loading={false} more={() => undefined}
          footer={pages.whole ? `${rows.length.toLocaleString('en-GB')} in all` : `${rows.length.toLocaleString('en-GB')} so far; scroll for more`} />
      )}
    </Loaded>
  )
}
