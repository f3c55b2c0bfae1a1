// Makes or changes a policy: what is written is tried by the daemon all the while, so that its runs, its machines and the points that it keeps can be
// seen before it is saved.
import { Button, Checkbox, Group, NativeSelect, Skeleton, Stack, Text, Textarea, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useMemo, useState, type ReactNode } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Policy } from '../api/client'
import { ApiError, explain } from '../api/problem'
import { fileSetsQuery, hostsQuery, machineHitsQuery, policyQuery, previewQuery, repositoriesQuery } from '../api/queries'
import { longestGap } from '../logic/expected'
import { bytes, count, duration, idOf, num, time } from '../logic/format'
import { filterOf } from '../logic/filter'
import {
  differences, draftOf, draftProblems, FIELD_WORDS, fieldOf, newDraft, policyOf, retentionOf, RULES, type DraftField, type DraftProblems, type PolicyDraft, type Rule,
} from '../logic/policy_draft'
import { spanOf } from '../logic/span'
import { useNow } from '../ui/now'
import { Confirm, Loaded, MachineLink, Notice, Page, Panel, Problem } from '../ui/parts'
import { Picker } from '../ui/picker'
import { useZone } from '../ui/preferences'
import { RetentionLoss } from '../ui/retention_loss'
import { RetentionPicture } from '../ui/retention_picture'
import { ScheduleEditor } from '../ui/schedule_editor'

export default function PolicyEdit() {
  const { policy: id = '' } = useParams()
  const query = useQuery(policyQuery(id))
  if (id === '') return <Page title="New policy"><Form key="new" start={newDraft(Intl.DateTimeFormat().resolvedOptions().timeZone)} /></Page>
  return (
    <Page title={`Change ${id}`}>
      <Loaded query={query} rows={8}>{(present) => <Editing key={id} present={present} />}</Loaded>
    </Page>
  )
}

/** Holds on to what was there when the editing began, whatever others do meanwhile. */
function Editing({ present }: { present: Policy }) {
  const [base, setBase] = useState(present)
  return <Form key={base.etag} start={draftOf(base)} base={base} present={present} takePresent={() => setBase(present)} />
}

interface FormParts {
  draft: PolicyDraft
  problems: DraftProblems
  set: (part: Partial<PolicyDraft>) => void
}

function Form({ start, base, present, takePresent }: { start: PolicyDraft; base?: Policy; present?: Policy; takePresent?: () => void }) {
  const [draft, setDraft] = useState(start)
  const set = (part: Partial<PolicyDraft>) => { setDraft((before) => ({ ...before, ...part })); save.reset() }
  const preview = usePreview(draft, base)
  const navigate = useNavigate()
  const queries = useQueryClient()
  const [asks, setAsks] = useState(false)
  const [saved, setSaved] = useState(false)
  const changed = differences(start, draft)
  const save = useMutation({
    // Over what others wrote meanwhile only when a person says so: with the etag of what they saw.
    mutationFn: (etag: string | undefined) => {
      const policy = policyOf(draft, base)
      return base
        ? body(api.PATCH('/v1/policies/{policy}', { params: { path: { policy: draft.id } }, body: { ...policy, etag } }))
        : body(api.POST('/v1/policies', { params: { query: { policyId: draft.id } }, body: policy }))
    },
    onSuccess: async () => {
      setAsks(false)
      setSaved(true)
      await queries.invalidateQueries({ queryKey: ['policies'] })
      navigate(`/policies?policy=${draft.id}`)
    },
    onError: (error) => {
      setAsks(false)
      if (error instanceof ApiError && error.reason === 'POLICY_CHANGED') void queries.invalidateQueries({ queryKey: ['policies', draft.id] })
    },
  })
  useUnsavedWarning(changed.length > 0 && !saved)
  const local = draftProblems(draft, base === undefined)
  const problems = { ...refusal(preview.error, draft), ...refusal(save.error, draft), ...(draft.id === '' && !save.isError ? withoutId(local) : local) }
  const unplaced = save.error && !fieldOf(save.error, draft) && !(save.error instanceof ApiError && save.error.reason === 'POLICY_CHANGED') ? save.error : undefined
  // It can be saved all the same: as when one may change this policy, but not see all that it would select.
  const unseen = preview.error && !fieldOf(preview.error, draft) ? explain(preview.error) : undefined
  // While mine is being saved a new etag may be that of my own change.
  const mineIsSaved = saved || (save.isPending && save.variables === base?.etag)
  const theirs = base && present && present.etag !== base.etag && !mineIsSaved ? present : undefined
  const retentionChanged = base !== undefined && (changed.includes('rules') || changed.includes('within'))
  const begin = () => (retentionChanged ? setAsks(true) : save.mutate(base?.etag))
  return (
    <form onSubmit={(event) => { event.preventDefault(); begin() }} noValidate>
      <Stack>
        {theirs && <Conflict draft={draft} start={start} theirs={theirs} take={() => takePresent?.()} overwrite={() => save.mutate(theirs.etag)} busy={save.isPending} />}
        {unplaced ? <Problem error={unplaced} /> : null}
        {unseen && <Notice tone="warn" title="What it would do can’t be shown now">{unseen.detail} {unseen.action}</Notice>}
        <NamePanel draft={draft} problems={problems} set={set} isNew={base === undefined} />
        <WhatPanel draft={draft} problems={problems} set={set} preview={preview} />
        <WhenPanel draft={draft} problems={problems} set={set} preview={preview} />
        <HowLongPanel draft={draft} problems={problems} set={set} preview={preview} base={base} retentionChanged={retentionChanged} selectionChanged={changed.some((field) => SELECTION.includes(field))} />
        <More draft={draft} problems={problems} set={set} />
        <Group>
          <Button type="submit" loading={save.isPending && !theirs} disabled={Object.keys(local).length > 0 || theirs !== undefined || (base !== undefined && changed.length === 0)}>
            {base ? 'Save the changes' : 'Make the policy'}
          </Button>
          <Button variant="default" component={Link} to={base ? `/policies?policy=${draft.id}` : '/policies'}>Leave it as it was</Button>
          <Text size="sm" className="dim" role="status">{base && (changed.length === 0 ? 'Nothing is changed yet.' : `Changed: ${changed.map((field) => FIELD_WORDS[field]).join(', ')}.`)}</Text>
        </Group>
      </Stack>
      {base && (
        <Confirm opened={asks} onClose={() => setAsks(false)} title={`Keep other recovery points of ${draft.id}?`} action="Save the changes" busy={save.isPending} error={save.error} onConfirm={() => save.mutate(base.etag)}>
          {asks && <RetentionLoss policy={draft.id} retention={retentionOf(draft)} />}
          <Text size="sm">What goes can be brought back until the repository’s undelete window is over. Points on hold, locked ones and the newest good point of each machine stay in any case.</Text>
        </Confirm>
      )}
    </form>
  )
}

const SELECTION: DraftField[] = ['members', 'hosts', 'expression', 'everythingElse', 'exclude', 'repository', 'timeZone']

function withoutId(problems: DraftProblems): DraftProblems {
  const { id: _, ...others } = problems
  return others
}

function refusal(error: unknown, draft: PolicyDraft): DraftProblems {
  const field = fieldOf(error, draft)
  return field && error instanceof ApiError ? { [field]: error.message.replace(/^policy[._][\w.]+: /, '') } : {}
}

type Preview = ReturnType<typeof usePreview>

/** The daemon's answer to what is written, a moment after the last key. What it said before stays until then. */
function usePreview(draft: PolicyDraft, base: Policy | undefined) {
  const text = useMemo(() => JSON.stringify({ ...policyOf(draft), ...(base ? { name: base.name } : {}) }), [draft, base])
  const [settled] = useDebouncedValue(text, 400)
  const whole = Object.keys(draftProblems(draft, false)).length === 0
  return useQuery({ ...previewQuery(JSON.parse(settled) as Policy), enabled: whole, placeholderData: keepPreviousData })
}

function useUnsavedWarning(unsaved: boolean) {
  useEffect(() => {
    if (!unsaved) return undefined
    const ask = (event: BeforeUnloadEvent) => event.preventDefault()
    window.addEventListener('beforeunload', ask)
    return () => window.removeEventListener('beforeunload', ask)
  }, [unsaved])
}

function Conflict(props: { draft: PolicyDraft; start: PolicyDraft; theirs: Policy; take: () => void; overwrite: () => void; busy: boolean }) {
  const zone = useZone()
  const theirs = draftOf(props.theirs)
  const changed = differences(props.start, theirs)
  const mine = differences(props.start, props.draft)
  const lost = changed.filter((field) => mine.includes(field) || JSON.stringify(props.draft[field]) !== JSON.stringify(theirs[field]))
  return (
    <Notice tone="warn" role="alert" title="Somebody else changed this policy meanwhile">
      <Text size="sm">
        At {time(props.theirs.updateTime, zone)}: {changed.length > 0 ? changed.map((field) => FIELD_WORDS[field]).join(', ') : 'nothing that is written here, such as whether it is paused'}. Nothing of yours is saved yet.
      </Text>
      <Group mt="xs">
        <Button size="xs" variant="default" onClick={props.take}>Show theirs, and forget mine{mine.length > 0 && ` (${mine.map((field) => FIELD_WORDS[field]).join(', ')})`}</Button>
        <Button size="xs" color={lost.length > 0 ? 'red' : undefined} loading={props.busy} onClick={props.overwrite}>
          Save mine{lost.length > 0 && `, and undo theirs (${lost.map((field) => FIELD_WORDS[field]).join(', ')})`}
        </Button>
      </Group>
    </Notice>
  )
}

function NamePanel({ draft, problems, set, isNew }: FormParts & { isNew: boolean }) {
  return (
    <Panel title="Name">
      <Stack gap="sm">
        {isNew && <TextInput label="Name" description="It can’t be changed later" placeholder="nightly" required value={draft.id} error={problems.id} onChange={(event) => set({ id: event.currentTarget.value })} />}
        <TextInput label="What it is for" value={draft.description} error={problems.description} onChange={(event) => set({ description: event.currentTarget.value })} />
      </Stack>
    </Panel>
  )
}

function useMachineHits(text: string) {
  const machines = useQuery(machineHitsQuery(filterOf(text)))
  const sets = useQuery({ ...fileSetsQuery, enabled: text !== '', retry: false })
  if (!machines.data) return undefined
  const wanted = text.toLowerCase()
  return [
    ...machines.data.map((machine) => ({ value: machine.name ?? '', label: machine.displayName ?? '' })),
    ...(sets.data ?? []).filter((set) => `${set.displayName} ${idOf(set.name)}`.toLowerCase().includes(wanted)).map((set) => ({ value: set.name ?? '', label: set.displayName || idOf(set.name), note: 'file set' })),
  ]
}

function useHostHits(text: string) {
  const hosts = useQuery(hostsQuery)
  return hosts.data?.filter((host) => (host.displayName ?? '').toLowerCase().includes(text.toLowerCase())).map((host) => ({ value: host.name ?? '', label: host.displayName ?? '' }))
}

function HostName({ name }: { name: string }) {
  const hosts = useQuery(hostsQuery)
  return <>{hosts.data?.find((host) => host.name === name)?.displayName ?? idOf(name)}</>
}

function WhatPanel({ draft, problems, set, preview }: FormParts & { preview: Preview }) {
  const schedule = preview.data?.schedule
  const names = preview.data?.memberDisplayNames ?? []
  const all = num(schedule?.memberCount)
  return (
    <Panel title="What is backed up">
      <Stack gap="sm">
        <TextInput label="Machines that fit" description="all, or such as: label.env=prod and not name=test*" value={draft.expression} error={problems.expression} onChange={(event) => set({ expression: event.currentTarget.value })} />
        <TextInput label="But not" description="Such as: name=tmp* or host=lab-*" value={draft.exclude} error={problems.exclude} onChange={(event) => set({ exclude: event.currentTarget.value })} />
        <Checkbox label="Also every machine that no other policy selects" checked={draft.everythingElse} onChange={(event) => set({ everythingElse: event.currentTarget.checked })} />
        <details open={draft.members.length + draft.hosts.length > 0 || Boolean(problems.members || problems.hosts)}>
          <summary>Single machines, file sets and whole hosts</summary>
          <Stack gap="sm" mt="xs">
            <Picker label="Machines and file sets by name" chosen={draft.members} error={problems.members} change={(members) => set({ members })} show={(value) => <MachineLink name={value} />} useHits={useMachineHits} />
            <Picker label="All machines of these hosts" chosen={draft.hosts} error={problems.hosts} change={(hosts) => set({ hosts })} show={(value) => <HostName name={value} />} useHits={useHostHits} />
          </Stack>
        </details>
        <Tried preview={preview} problem={problems.expression ?? problems.exclude}>
          <Text fw={600} role="status">{all === 0 ? 'Nothing fits now' : `${count(all, 'machine or file set', 'machines and file sets')} now, ${count(num(schedule?.jobCount), 'job')} each run`}</Text>
          {all === 0 ? <Text size="sm">Machines that fit later join by themselves.</Text> : (
            <Text size="sm" className="wrap">{names.join(', ')}{all > names.length && ` and ${(all - names.length).toLocaleString('en-GB')} more`}</Text>
          )}
        </Tried>
      </Stack>
    </Panel>
  )
}

/** What the daemon says, marked as old while it doesn't fit what is written. */
function Tried({ preview, problem, children }: { preview: Preview; problem?: string; children: ReactNode }) {
  if (!preview.data && preview.error) return null
  if (!preview.data) return preview.isFetching ? <Skeleton height={40} aria-label="The daemon tries it" /> : <Text size="sm" className="dim">What it does is shown here as soon as it is whole.</Text>
  return <div className={preview.isPlaceholderData || preview.error || problem ? 'tried tried-old' : 'tried'} aria-busy={preview.isFetching}>{children}</div>
}

function zonesWith(zone: string): string[] {
  const known = ['UTC', ...Intl.supportedValuesOf('timeZone').filter((name) => name !== 'UTC')]
  return zone === '' || known.includes(zone) ? known : [zone, ...known]
}

function WhenPanel({ draft, problems, set, preview }: FormParts & { preview: Preview }) {
  const zone = useZone()
  const runs = preview.data?.schedule?.runs ?? []
  return (
    <Panel title="When">
      <Stack gap="sm">
        <ScheduleEditor schedules={draft.schedules} error={problems.schedules} change={(schedules) => set({ schedules })} />
        <NativeSelect label="Time zone" description="Of schedules, windows and retention" value={draft.timeZone || 'UTC'} error={problems.timeZone} data={zonesWith(draft.timeZone)}
          onChange={(event) => set({ timeZone: event.currentTarget.value === 'UTC' ? '' : event.currentTarget.value })} />
        <Tried preview={preview} problem={problems.schedules ?? problems.timeZone ?? problems.windows ?? problems.closed}>
          <Text fw={600}>Next runs</Text>
          {runs.length === 0 ? <Text size="sm">None in the next 30 days.</Text> : (
            <ol className="runs">{runs.slice(0, 6).map((run) => (
              <li key={run.dueTime}>
                {time(run.startTime ?? run.dueTime, zone)}
                {run.startTime !== run.dueTime && <span className="dim">, due at {time(run.dueTime, zone)}, outside the windows</span>}
                {run.lastStartTime && run.lastStartTime !== run.startTime && <span className="dim">, its jobs begin until {time(run.lastStartTime, zone)}</span>}
              </li>
            ))}</ol>
          )}
          {runs.length > 6 && <Text size="sm" className="dim">{runs.length}{preview.data?.schedule?.truncated ? ' and more' : ''} in the next 30 days. Times are those that the page’s head names.</Text>}
        </Tried>
      </Stack>
    </Panel>
  )
}

const RULE_LABELS: Record<Rule, string> = { last: 'Newest points', hourly: 'Hours', daily: 'Days', weekly: 'Weeks', monthly: 'Months', yearly: 'Years' }

function HowLongPanel(props: FormParts & { preview: Preview; base?: Policy; retentionChanged: boolean; selectionChanged: boolean }) {
  const { draft, problems, set, preview } = props
  const now = useNow(60_000)
  const [settled] = useDebouncedValue(JSON.stringify(retentionOf(draft)), 600)
  const gap = longestGap(preview.data?.schedule?.runs ?? [])
  const promised = spanOf(draft.rpo) ?? 0
  return (
    <Panel title="How long points are kept">
      <Stack gap="sm">
        <Text size="sm">Each number keeps the newest point of so many hours, days and so on. A point goes when nothing keeps it. All 0: everything is kept.</Text>
        <div className="numbers">
          {RULES.map((rule) => (
            <TextInput key={rule} type="number" min={0} label={RULE_LABELS[rule]} value={draft.rules[rule]} onChange={(event) => set({ rules: { ...draft.rules, [rule]: Math.max(0, Number(event.currentTarget.value)) } })} />
          ))}
          <TextInput label="All of the last" placeholder="none, or 7 days" value={draft.within} error={problems.within} onChange={(event) => set({ within: event.currentTarget.value })} />
        </div>
        {problems.rules && <Text size="sm" className="field-error" role="alert">{problems.rules}</Text>}
        <TextInput label="The newest good point is never older than" description="A promise that the overview measures; empty: none" placeholder="26 h" value={draft.rpo} error={problems.rpo} onChange={(event) => set({ rpo: event.currentTarget.value })} />
        {gap !== undefined && promised > 0 && promised < gap && (
          <Notice tone="warn" title="This promise can’t be kept">Between two of its runs are up to {duration(gap)}, and each takes some time: the overview would call its machines late again and again.</Notice>
        )}
        <Tried preview={preview} problem={problems.rules ?? problems.within}>
          <Text fw={600}>What a machine would have by now, had it always run</Text>
          <RetentionPicture points={preview.data?.expectedPoints ?? []} now={now} />
        </Tried>
        {props.base && props.retentionChanged && !problems.rules && !problems.within && (
          <>
            <RetentionLoss policy={draft.id} retention={JSON.parse(settled)} />
            {props.selectionChanged && <Text size="sm" className="dim">It is looked at for the machines that the policy selects as it is saved now.</Text>}
          </>
        )}
        {!props.base && <Text size="sm" className="dim">Points that its machines have already are kept by the same rules from then on, beside those of other policies that select them. Put a hold on what must stay.</Text>}
      </Stack>
    </Panel>
  )
}

function More({ draft, problems, set }: FormParts) {
  const repositories = useQuery({ ...repositoriesQuery, retry: false, staleTime: 60_000 })
  const mine: DraftField[] = ['windows', 'closed', 'spread', 'repository', 'childSnapshotOnly', 'allowCrashConsistent', 'freezeTimeout', 'wholeHosts', 'retries', 'backoff', 'priority', 'weight', 'uploadMib', 'jobs', 'preHook', 'postHook']
  const wrong = mine.some((field) => problems[field])
  const [opened, setOpened] = useState(false)
  const number = (field: 'retries' | 'priority' | 'weight' | 'uploadMib' | 'jobs' | 'jobsPerHost', label: string, description: string, min = 0) => (
    <TextInput type="number" min={min} label={label} description={description} value={draft[field]} error={problems[field]} onChange={(event) => set({ [field]: Number(event.currentTarget.value) })} />
  )
  const span = (field: 'spread' | 'backoff' | 'freezeTimeout', label: string, description: string) => (
    <TextInput label={label} description={description} value={draft[field]} error={problems[field]} onChange={(event) => set({ [field]: event.currentTarget.value })} />
  )
  return (
    <details className="more" open={opened || wrong} onToggle={(event) => setOpened(event.currentTarget.open)}>
      <summary>More: windows, spread, repository, mechanism, limits, further attempts, hooks</summary>
      <div className="grid">
        <Panel title="Windows">
          <Stack gap="sm">
            <Textarea label="Jobs begin only within" description="One a line, such as: mon-fri 20:00-06:00. None: always" autosize={false} rows={3} value={draft.windows} error={problems.windows} onChange={(event) => set({ windows: event.currentTarget.value })} />
            <Textarea label="No job begins within" description="One a line, such as: 2026-12-24..2026-12-27 or mon 08:00-12:00" autosize={false} rows={3} value={draft.closed} error={problems.closed} onChange={(event) => set({ closed: event.currentTarget.value })} />
            {span('spread', 'Spread the jobs of a run over', 'Such as 2 h; empty: all at once')}
            <Checkbox label="Skip due times that passed while the daemon was down" checked={draft.skipMissed} onChange={(event) => set({ skipMissed: event.currentTarget.checked })} />
          </Stack>
        </Panel>
        <Panel title="Where to, and how">
          <Stack gap="sm">
            <NativeSelect label="Repository" value={draft.repository} error={problems.repository} onChange={(event) => set({ repository: event.currentTarget.value })}
              data={[{ value: '', label: 'The default one' }, ...(repositories.data ?? []).map((known) => ({ value: known.name ?? '', label: `${idOf(known.name)} (${bytes(known.freeBytes)} free)` }))]} />
            <Checkbox label="Only by child snapshot: the guest keeps running, or there is no backup" checked={draft.childSnapshotOnly} error={problems.childSnapshotOnly} onChange={(event) => set({ childSnapshotOnly: event.currentTarget.checked })} />
            <Checkbox label="No machine may be stopped, not even for a moment" checked={draft.forbidSavedState} onChange={(event) => set({ forbidSavedState: event.currentTarget.checked })} />
            <Checkbox label="Accept points without the guest’s help, as after a power cut" checked={draft.allowCrashConsistent} error={problems.allowCrashConsistent} onChange={(event) => set({ allowCrashConsistent: event.currentTarget.checked })} />
            <Checkbox label="All machines of a host at one point in time, all or none" checked={draft.wholeHosts} error={problems.wholeHosts} onChange={(event) => set({ wholeHosts: event.currentTarget.checked })} />
            {span('freezeTimeout', 'Longest freeze of a guest', 'Empty: 10 s')}
          </Stack>
        </Panel>
        <Panel title="Limits">
          <div className="numbers">
            {number('priority', 'Priority', 'Higher begins first, -100 to 100', -100)}
            {number('weight', 'Weight', 'Its share among its priority', 1)}
            {number('jobs', 'Jobs at once', '0: no limit')}
            {number('jobsPerHost', 'Jobs at once on a host', '0: no limit')}
            {number('uploadMib', 'Upload of a job, MiB/s', '0: no limit')}
          </div>
        </Panel>
        <Panel title="Further attempts and hooks">
          <Stack gap="sm">
            {number('retries', 'Further attempts', 'When a job fails for a reason that passes')}
            {span('backoff', 'Pause before one', 'Empty: 10 minutes')}
            <TextInput label="Hook before" description="Name of a program in the host’s folder of hooks" value={draft.preHook} error={problems.preHook} onChange={(event) => set({ preHook: event.currentTarget.value })} />
            <TextInput label="Hook after" value={draft.postHook} error={problems.postHook} onChange={(event) => set({ postHook: event.currentTarget.value })} />
            <Checkbox label="A hook that fails before is only a warning" checked={draft.ignorePreFailure} onChange={(event) => set({ ignorePreFailure: event.currentTarget.checked })} />
          </Stack>
        </Panel>
      </div>
    </details>
  )
}
