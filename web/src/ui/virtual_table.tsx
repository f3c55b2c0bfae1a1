// A table of any length: only the rows that can be seen are in the page, further ones are asked for as the end comes near.
import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useRef, type ReactNode } from 'react'

export interface Column<T> {
  head: string
  /** Share of the width. */
  width: string
  cell: (row: T) => ReactNode
}

const ROW_PX = 44

export function VirtualTable<T>(props: {
  label: string; columns: Column<T>[]; rows: { length: number; at(index: number): T | undefined }; keyOf: (row: T) => string; hasMore: boolean; loading: boolean; more: () => void; footer: string
  /** Called with what can be seen, for lists that read themselves. */
  look?: (first: number, last: number) => void
  /** Not as high as the window lets it be: something comes after it. */
  short?: boolean
}) {
  const scroller = useRef<HTMLDivElement>(null)
  const { rows, hasMore, loading, more, look } = props
  const virtual = useVirtualizer({
    count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => ROW_PX, overscan: 8,
    getItemKey: (index) => { const row = rows.at(index); return row ? props.keyOf(row) : index },
  })
  const items = virtual.getVirtualItems()
  const firstSeen = items[0]?.index ?? 0
  const lastSeen = items.at(-1)?.index ?? -1
  useEffect(() => look?.(firstSeen, lastSeen), [look, firstSeen, lastSeen])
  useEffect(() => {
    // A page may be short, or empty, and not the last: asking goes on until the window is full.
    if (hasMore && !loading && lastSeen >= rows.length - 30) more()
  }, [hasMore, loading, lastSeen, rows.length, more])
  const template = { gridTemplateColumns: props.columns.map((column) => column.width).join(' ') }
  return (
    <div className="vtable">
      <div role="table" aria-label={props.label} aria-rowcount={hasMore ? -1 : rows.length + 1}>
        <div className="vtable-head" role="row" aria-rowindex={1} style={template}>
          {props.columns.map((column) => <div key={column.head} role="columnheader">{column.head}</div>)}
        </div>
        <div className={props.short ? 'vtable-body vtable-short' : 'vtable-body'} ref={scroller} role="rowgroup" tabIndex={0} aria-label={`Rows of ${props.label}`}>
          <div className="vtable-inner" role="presentation" style={{ height: virtual.getTotalSize() }}>
            {items.map((item) => {
              const row = rows.at(item.index)
              return (
                <div key={item.key} role="row" aria-rowindex={item.index + 2} className="vtable-row"
                  style={{ ...template, height: ROW_PX, transform: `translateY(${item.start}px)` }}>
                  {props.columns.map((column) => <div key={column.head} role="cell" className="clip">{row === undefined ? <span className="dim" aria-label="Loading">…</span> : column.cell(row)}</div>)}
                </div>
              )
            })}
          </div>
        </div>
      </div>
      <div className="vtable-foot dim" role="status">{props.footer}</div>
    </div>
  )
}
