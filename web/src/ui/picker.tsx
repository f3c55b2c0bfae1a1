// Things chosen out of very many, by their names: what is chosen, and a search that offers more.
import { Button, Group, Stack, Text, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useState, type ReactNode } from 'react'

export interface Choice {
  value: string
  label: string
  note?: string
}

export function Picker(props: {
  label: string; description?: string; chosen: string[]; error?: string; change: (chosen: string[]) => void
  /** How a chosen one is shown. */
  show: (value: string) => ReactNode
  /** What a search finds; undefined while it isn't known. A hook: called at each look. */
  useHits: (text: string) => Choice[] | undefined
}) {
  const { chosen, change } = props
  const [text, setText] = useState('')
  const [settled] = useDebouncedValue(text.trim(), 250)
  const hits = props.useHits(settled)
  const offered = settled === '' ? [] : (hits ?? []).filter((hit) => !chosen.includes(hit.value)).slice(0, 8)
  return (
    <Stack gap={6}>
      <TextInput type="search" label={props.label} description={props.description} error={props.error} value={text} onChange={(event) => setText(event.currentTarget.value)} placeholder="Search by name" />
      {settled !== '' && (
        <div role="status">
          {hits && offered.length === 0 && <Text size="sm" className="dim">Nothing more of that name.</Text>}
          <Group gap={6}>
            {offered.map((hit) => (
              <Button key={hit.value} size="compact-sm" variant="default" onClick={() => { change([...chosen, hit.value]); setText('') }}>Add {hit.label}{hit.note && <span className="dim">&nbsp;({hit.note})</span>}</Button>
            ))}
          </Group>
        </div>
      )}
      {chosen.length > 0 && (
        <Group gap={6} role="group" aria-label={`Chosen: ${props.label}`}>
          {chosen.map((value) => (
            <span key={value} className="chosen">{props.show(value)}
              <Button size="compact-xs" variant="subtle" aria-label="Take it out" onClick={() => change(chosen.filter((other) => other !== value))}>×</Button>
            </span>
          ))}
        </Group>
      )}
    </Stack>
  )
}
