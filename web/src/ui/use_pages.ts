// The rows of a list as long as the fleet: the pages that can be seen are asked for, and asked for again when they are old; those out of sight rest.
import { useQueries, useQueryClient } from '@tanstack/react-query'
import { useCallback, useMemo, useRef, useState } from 'react'
import { PageBook } from '../logic/paging'

export interface Page<T> {
  rows: T[]
  next: string
}

// What is near is read before it comes in sight.
const AHEAD = 60
const KEPT_MS = 30 * 60_000

export interface Rows<T> {
  length: number
  at(index: number): T | undefined
}

/** `key` names the list: another key begins anew. `read` must always do the same for a key. */
export function usePages<T>(key: readonly string[], read: (token: string) => Promise<Page<T>>, live?: (rows: T[]) => number | false) {
  const queries = useQueryClient()
  const name = JSON.stringify(key)
  const book = useMemo(() => new PageBook(), [name])
  const [seen, setSeen] = useState({ name, first: 0, last: 0 })
  const { first, last } = seen.name === name ? seen : { first: 0, last: 0 }
  const look = useCallback((from: number, to: number) => setSeen((before) => (before.name === name && before.first === from && before.last === to ? before : { name, first: from, last: to })), [name])
  const tokens = book.needed(first - AHEAD, last + AHEAD)
  const answers = useQueries({
    queries: tokens.map((token) => ({
      queryKey: [...key, token], queryFn: () => read(token), gcTime: KEPT_MS,
      refetchInterval: (query: { state: { data: Page<T> | undefined } }) => (query.state.data && live ? live(query.state.data.rows) : false),
    })),
  })
  answers.forEach((answer, index) => {
    const token = tokens[index]
    if (answer.data && token !== undefined) book.take(token, answer.data.rows.length, answer.data.next)
  })
  const rows: Rows<T> = {
    length: book.length,
    at: (index) => {
      const found = book.find(index)
      return found && queries.getQueryData<Page<T>>([...key, found.token])?.rows[found.place]
    },
  }
  // What was found before stays in sight until there is something of what is asked for now.
  const before = useRef<Rows<T> | undefined>(undefined)
  const known = book.length > 0 || book.whole
  if (known) before.current = rows
  const failed = answers.find((answer) => answer.error)
  return {
    rows, whole: book.whole, look, data: known ? rows : before.current, error: failed?.error ?? null,
    refetch: () => { for (const answer of answers) if (answer.error) void answer.refetch() },
    // What a page brought may ask for the next one: that is seen at the next look.
    again: tokens.join() !== book.needed(first - AHEAD, last + AHEAD).join(),
  }
}
