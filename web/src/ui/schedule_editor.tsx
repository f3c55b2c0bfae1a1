// The times at which a policy is due: chosen from usual shapes, or written in the daemon's own words.
import { Button, Checkbox, Group, NativeSelect, Stack, Text, TextInput } from '@mantine/core'
import { useState } from 'react'
import { choiceOf, DAY_WORDS, DAYS, EMPTY_CHOICE, expressionOf, KIND_LABELS, KINDS, scheduleWords, type ScheduleChoice, type ScheduleKind } from '../logic/schedule'

export function ScheduleEditor({ schedules, error, change }: { schedules: string[]; error?: string; change: (schedules: string[]) => void }) {
  // What is chosen, not what comes of it: a text that is being typed may look like one of the shapes for a moment.
  const [choices, setChoices] = useState(() => schedules.map(choiceOf))
  const set = (next: ScheduleChoice[]) => { setChoices(next); change(next.map(expressionOf)) }
  return (
    <Stack gap="xs" role="group" aria-label="Schedules">
      {choices.length === 0 && <Text size="sm">It runs only when somebody asks for it.</Text>}
      {choices.map((choice, index) => (
        <ScheduleRow key={index} choice={choice} number={index + 1} change={(next) => set(choices.map((old, at) => (at === index ? next : old)))}
          remove={() => set(choices.filter((_, at) => at !== index))} />
      ))}
      {error && <Text size="sm" className="field-error" role="alert">{error}</Text>}
      <Group><Button size="compact-sm" variant="default" onClick={() => set([...choices, EMPTY_CHOICE])}>{choices.length === 0 ? 'Add a schedule' : 'Add another schedule'}</Button></Group>
    </Stack>
  )
}

function ScheduleRow({ choice, number, change, remove }: { choice: ScheduleChoice; number: number; change: (choice: ScheduleChoice) => void; remove: () => void }) {
  const { kind } = choice
  const timed = kind === 'daily' || kind === 'weekdays' || kind === 'weekends' || kind === 'weekly' || kind === 'monthly'
  return (
    <div className="schedule-row">
      <Group align="flex-end" gap="xs">
        <NativeSelect label="How often" aria-label={`How often, schedule ${number}`} value={kind} data={KINDS.map((known) => ({ value: known, label: KIND_LABELS[known] }))}
          onChange={(event) => change(withKind(choice, event.currentTarget.value as ScheduleKind))} />
        {kind === 'monthly' && (
          <TextInput label="On days" description="1 to 31, last, or such as first sun" aria-label={`On days, schedule ${number}`} value={choice.days.join(',')}
            onChange={(event) => change({ ...choice, days: event.currentTarget.value.split(',') })} />
        )}
        {timed && <TextInput label="At" aria-label={`At, schedule ${number}`} placeholder="22:00 or 06:00,18:30" w="9rem" value={choice.at} onChange={(event) => change({ ...choice, at: event.currentTarget.value })} />}
        {kind === 'hourly' && (
          <TextInput label="At minute" aria-label={`At minute, schedule ${number}`} type="number" min={0} max={59} w="6rem" value={Number(choice.at.split(':')[1] ?? 0)}
            onChange={(event) => change({ ...choice, at: `00:${event.currentTarget.value.padStart(2, '0')}` })} />
        )}
        {kind === 'every' && (
          <>
            <TextInput label="Every" aria-label={`Every, schedule ${number}`} type="number" min={1} w="6rem" value={choice.count} onChange={(event) => change({ ...choice, count: Number(event.currentTarget.value) })} />
            <NativeSelect aria-label={`Unit, schedule ${number}`} value={choice.unit} data={['minutes', 'hours']} onChange={(event) => change({ ...choice, unit: event.currentTarget.value as 'minutes' | 'hours' })} />
          </>
        )}
        {kind === 'own' && (
          <TextInput className="grow" label="Expression" description="Such as: yearly on 12-31 at 23:00, or as cron: 30 2 * * mon-fri" aria-label={`Expression, schedule ${number}`} value={choice.text}
            onChange={(event) => change({ ...choice, text: event.currentTarget.value })} />
        )}
        <Button variant="default" size="xs" aria-label={`Remove schedule ${number}`} onClick={remove}>Remove</Button>
      </Group>
      {kind === 'weekly' && (
        <Group gap="sm" mt={6} role="group" aria-label={`Days, schedule ${number}`}>
          {DAYS.map((day) => (
            <Checkbox key={day} size="xs" label={DAY_WORDS[day]} checked={choice.days.includes(day)}
              onChange={(event) => change({ ...choice, days: event.currentTarget.checked ? DAYS.filter((known) => known === day || choice.days.includes(known)) : choice.days.filter((known) => known !== day) })} />
          ))}
        </Group>
      )}
      <Text size="sm" className="dim" mt={4}>{kind === 'weekly' && choice.days.length === 0 ? 'Choose at least one day.' : `Runs ${scheduleWords(expressionOf(choice))}.`}</Text>
    </div>
  )
}

/** What the other kind needs and the present one has no word for. */
function withKind(choice: ScheduleChoice, kind: ScheduleKind): ScheduleChoice {
  if (kind === 'own') return { ...choice, kind, text: expressionOf(choice) }
  const days = kind === 'weekly' ? ['sun'] : kind === 'monthly' ? ['1'] : []
  return { ...choice, kind, days, at: choice.kind === 'hourly' || choice.at === '' ? EMPTY_CHOICE.at : choice.at }
}
