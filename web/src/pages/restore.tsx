// Restore: what, where, check, run. The daemon checks the whole request before anything is begun.
import { Anchor, Button, Checkbox, Group, NativeSelect, Radio, Stack, Stepper, Text, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useInfiniteQuery, useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Host, type Job, type RecoveryPoint } from '../api/client'
import { ApiError } from '../api/problem'
import { fileSetPointsQuery, hostsQuery, machineHitsQuery, machineQuery, pointQuery, pointsQuery } from '../api/queries'
import { bytes, count, enumWords, idOf, machineIds, num, time } from '../logic/format'
import { filterOf } from '../logic/filter'
import { defaultName, emptyPlan, lossInPlace, problemsOf, reachable, restoreJob, stepAfter, stepBefore, STEPS, type Mode, type Plan, type Step } from '../logic/wizard'
import { FileBrowser } from '../ui/file_browser'
import { Field, Loaded, Notice, Page, Problem } from '../ui/parts'
import { useZone } from '../ui/preferences'

const WORDS: Record<Step, string> = { what: 'What', where: 'Where', check: 'Check and run' }

export default function Restore() {
  const { point: first = '' } = useParams()
  const [plan, setPlan] = useState<Plan>(() => emptyPlan(`recoveryPoints/${first}`))
  const [wanted, setWanted] = useState<Step>('what')
  const point = useQuery(pointQuery(idOf(plan.point)))
  const step = reachable(wanted, plan, point.data)
  const problems = problemsOf(step, plan, point.data)
  // What was read of a loss is of the choices that were made then.
  const change = (part: Partial<Plan>) => setPlan((before) => ({ ...before, understood: false, ...part }))
  const before = stepBefore(step)
  const after = stepAfter(step)
  return (
    <Page title={`Restore ${point.data?.virtualMachineDisplayName ?? ''}`}>
      <Stepper active={STEPS.indexOf(step)} size="sm" allowNextStepsSelect={false} onStepClick={(index) => setWanted(STEPS[index] ?? 'what')}>
        {STEPS.map((known) => <Stepper.Step key={known} label={WORDS[known]} />)}
      </Stepper>
      <Loaded query={point}>
        {(data) => (
          <Stack>
            {step === 'what' && <What point={data} plan={plan} problems={problems} change={change} />}
            {step === 'where' && <Where point={data} plan={plan} problems={problems} change={change} />}
            {step === 'check' && <Check point={data} plan={plan} problems={problems} change={change} />}
            <Group>
              {before && <Button variant="default" onClick={() => setWanted(before)}>Back</Button>}
              {after && <Button disabled={Object.keys(problems).length > 0} onClick={() => setWanted(after)}>Next: {WORDS[after].toLowerCase()}</Button>}
            </Group>
          </Stack>
        )}
      </Loaded>
    </Page>
  )
}

interface StepProps {
  point: RecoveryPoint
  plan: Plan
  problems: Partial<Record<keyof Plan, string>>
  change: (part: Partial<Plan>) => void
}

function What({ point, plan, problems, change }: StepProps) {
  const zone = useZone()
  const points = useInfiniteQuery(point.fileSet ? fileSetPointsQuery(point.fileSet) : { ...pointsQuery(point.virtualMachine ?? ''), enabled: Boolean(point.virtualMachine) })
  const known = (points.data?.pages ?? []).flatMap((page) => page.recoveryPoints ?? []).filter((other) => !other.deleteTime)
  const choices = known.some((other) => other.name === point.name) ? known : [point, ...known]
  return (
    <>
      <Group align="flex-end">
        <NativeSelect className="grow" label="Recovery point" description={point.fileSet ? 'The files come back as they were at this moment' : 'The machine comes back as it was at this moment'} value={plan.point} error={problems.point}
          onChange={(event) => change({ point: event.currentTarget.value, path: '', resumeState: false })}
          data={choices.map((other) => ({ value: other.name ?? '', label: `${time(other.pointTime, zone)}${point.fileSet ? '' : `, ${enumWords(other.mechanism, 'BACKUP_MECHANISM_')}`}` }))} />
        {points.hasNextPage && <Button variant="default" loading={points.isFetchingNextPage} onClick={() => void points.fetchNextPage()}>Older ones</Button>}
      </Group>
      {point.health === 'HEALTH_DAMAGED' && (
        <Notice tone="bad" title="Parts of this recovery point are damaged">
          {(point.damage ?? []).filter((place) => !place.healedTime).map((place) => `${place.disk}: ${bytes(place.lengthBytes)} at ${place.offsetBytes}`).join('; ')}.
          A restore stops at a damaged place and leaves nothing half-made behind: choose another point.
        </Notice>
      )}
      <dl className="fields">
        <Field label="Repository">{idOf(point.repository)}</Field>
        <Field label="Verified">{point.verifyTime ? time(point.verifyTime, zone) : 'never read back as a whole yet'}</Field>
        <Field label="Data">{bytes(point.figures?.logicalBytes)}</Field>
        {point.fileSet ? <Field label="Folders">{(point.files?.folders ?? []).join(', ')}</Field> : <Field label="Disks">{(point.disks ?? []).map((disk) => `${disk.name} (${bytes(disk.capacityBytes)})`).join(', ')}</Field>}
        {point.memory && <Field label="Memory">{bytes(point.memory.sizeBytes)} of the same instant</Field>}
        {(point.excludedDisks ?? []).length > 0 && <Field label="Not in it">{(point.excludedDisks ?? []).map((disk) => `${disk.name}: ${disk.message}`).join('; ')}</Field>}
      </dl>
      {point.fileSet && (
        <>
          <FileBrowser key={point.name} point={idOf(point.name)} chosen={plan.path} choose={(path) => change({ path })} />
          <TextInput label="Only this file or folder" description="Its whole path at backup time; empty: everything" value={plan.path} error={problems.path} onChange={(event) => change({ path: event.currentTarget.value })} />
        </>
      )}
    </>
  )
}

function hostChoices(hosts: Host[], origin: string): { value: string; label: string; disabled: boolean }[] {
  const word = (host: Host) => (host.state !== 'STATE_ONLINE' ? ' (offline)' : host.drained ? ' (in maintenance)' : '')
  const home = hosts.find((host) => host.name === `hosts/${origin}`)
  return [
    { value: '', label: `Where it was backed up${home ? `: ${home.displayName}${word(home)}` : ''}`, disabled: false },
    ...hosts.filter((host) => host !== home).map((host) => ({ value: host.name ?? '', label: `${host.displayName}${word(host)}`, disabled: host.state !== 'STATE_ONLINE' })),
  ]
}

function originOf(point: RecoveryPoint): string {
  return (point.virtualMachine || point.fileSet || '').split('/')[1] ?? ''
}

function HostChoice({ point, plan, change }: StepProps) {
  const hosts = useQuery(hostsQuery)
  return (
    <Loaded query={hosts} rows={1}>
      {(all) => <NativeSelect label="Host" value={plan.host} onChange={(event) => change({ host: event.currentTarget.value })} data={hostChoices(all, originOf(point))} />}
    </Loaded>
  )
}

function Where(props: StepProps) {
  const { point, plan, problems, change } = props
  if (point.fileSet) {
    return (
      <>
        <HostChoice {...props} />
        <TextInput label="Folder on the host" required value={plan.folder} error={problems.folder} onChange={(event) => change({ folder: event.currentTarget.value })}
          description={plan.path ? `It gets what is in ${plan.path}` : 'Everything comes below it, with the whole paths of backup time'} />
        <Checkbox label="A folder that is there already gives way" checked={plan.overwrite} onChange={(event) => change({ overwrite: event.currentTarget.checked })} />
        {plan.overwrite && <Notice tone="warn" title="The whole folder is replaced">Everything that is in {plan.folder || 'the folder'} now is lost when all files are restored, also files that the recovery point doesn’t have.</Notice>}
      </>
    )
  }
  return (
    <>
      <Radio.Group label="How it comes back" value={plan.mode} onChange={(mode) => change({ mode: mode as Mode, host: '', displayName: '', folder: '', resumeState: false, takeClusterOffline: false })}>
        <Stack gap="xs" mt={6}>
          <div className="choice"><Radio value="new" label="As a new machine" description="Beside the original, with new disks and MAC addresses. Nothing is lost." /></div>
          <div className="choice"><Radio value="inPlace" label="In place of the original" description="The original is turned off and replaced by its earlier state, on its host." /></div>
        </Stack>
      </Radio.Group>
      {plan.mode === 'new' ? <AsNew {...props} /> : <InPlace {...props} />}
    </>
  )
}

function AsNew(props: StepProps) {
  const { point, plan, problems, change } = props
  const name = plan.displayName || defaultName(point)
  const [settled] = useDebouncedValue(name, 300)
  const hits = useQuery(machineHitsQuery(filterOf(settled), idOf(plan.host) || originOf(point)))
  const clash = hits.data?.find((machine) => machine.displayName?.toLowerCase() === settled.toLowerCase())
  return (
    <>
      <HostChoice {...props} />
      <TextInput label="Name of the new machine" placeholder={defaultName(point)} value={plan.displayName} error={problems.displayName}
        onChange={(event) => change({ displayName: event.currentTarget.value })} />
      {clash && settled === name && <Notice tone="warn" role="alert" title={`There is a machine ${clash.displayName} on that host already`}>The restore would be refused there (VM_EXISTS): choose another name.</Notice>}
      <TextInput label="Folder on the host" description="The machine gets a folder of its name in it" placeholder="the agent’s default folder" value={plan.folder} error={problems.folder}
        onChange={(event) => change({ folder: event.currentTarget.value })} />
      <Checkbox label="Start it when everything is restored" checked={plan.powerOn} onChange={(event) => change({ powerOn: event.currentTarget.checked })} />
      {plan.powerOn && (
        <Notice tone="warn" title="Two of the same on one network?">
          The new machine has new MAC addresses, but the addresses and names that are set inside the guest are those of the original. If that still runs, they may clash.
        </Notice>
      )}
    </>
  )
}

function useOriginal(point: RecoveryPoint) {
  const ids = machineIds(point.virtualMachine)
  const query = useQuery({ ...machineQuery(ids?.host ?? '', ids?.machine ?? ''), enabled: ids !== undefined, retry: false, staleTime: 0 })
  const gone = query.error instanceof ApiError && query.error.status === 404
  return { query, gone, loss: query.data || gone ? lossInPlace(point, gone ? undefined : query.data) : undefined }
}

function InPlace({ point, plan, problems, change }: StepProps) {
  const { loss } = useOriginal(point)
  return (
    <>
      {loss?.cluster && (
        <Checkbox label={`Take ${loss.cluster} offline in the failover cluster, and bring it back after`} description="Without it the restore is refused: the cluster would start the machine while it is replaced" checked={plan.takeClusterOffline}
          onChange={(event) => change({ takeClusterOffline: event.currentTarget.checked })} />
      )}
      {point.memory && (
        <Checkbox label="Go on from the saved memory" description="At the very instant of the recovery point, with all programs open, instead of booting from the disks" checked={plan.resumeState}
          onChange={(event) => change({ resumeState: event.currentTarget.checked })} />
      )}
      {!plan.resumeState && <Checkbox label="Start it when everything is restored" checked={plan.powerOn} onChange={(event) => change({ powerOn: event.currentTarget.checked })} />}
      <TextInput label="Other folder for its disks" description="Empty: where they were" value={plan.folder} error={problems.folder} onChange={(event) => change({ folder: event.currentTarget.value })} />
    </>
  )
}

/** Exactly what a restore in place takes away, to be read and accepted. */
function LossInPlace({ point, plan, change }: StepProps) {
  const zone = useZone()
  const { query, gone, loss } = useOriginal(point)
  if (!loss) return query.error ? <Problem error={query.error} retry={() => void query.refetch()} /> : <Text role="status">Looks at the machine…</Text>
  const name = query.data?.displayName || point.virtualMachineDisplayName
  const ids = machineIds(point.virtualMachine)
  if (gone) return <Notice tone="busy" title={`${name} isn’t on its host any more`}>Nothing is replaced: it comes back with its old uuid and MAC addresses.</Notice>
  return (
    <>
      <Notice tone="bad" title={`What is lost of ${name}`}>
        <ul className="loss">
          <li>Everything that was written to its disks after {time(point.pointTime, zone)}{loss.newerPoint ? ', as far as no newer recovery point holds it' : ': no newer recovery point holds it'}.</li>
          <li>It is {enumWords(query.data?.state, 'VIRTUAL_MACHINE_STATE_') || 'as it is'} now: it is turned off at once, without asking the guest, and stays off until the restore is done.</li>
          {query.data?.state === 'VIRTUAL_MACHINE_STATE_SAVED' && <li>Its saved memory.</li>}
          {loss.checkpoints.length > 0 && <li>{count(loss.checkpoints.length, 'checkpoint')} inside its disks: {loss.checkpoints.join(', ')}.</li>}
          {loss.disks.length > 0 && <li>Its {count(loss.disks.length, 'disk')} that the recovery point doesn’t hold: {loss.disks.join(', ')}. The files stay on the host, but the machine may come back without them.</li>}
          {loss.cluster && <li>{plan.takeClusterOffline ? `${loss.cluster} is offline in the cluster meanwhile.` : `${loss.cluster} is online in the cluster: the restore is refused until it is offline (one step back).`}</li>}
        </ul>
        <Text size="sm" mt={4}>Recovery points stay. Until all data is restored and checked the old disks stay on the host, so that a restore that fails doesn’t cost them; the host needs the room for both.</Text>
      </Notice>
      <Text size="sm">To be able to come back to how it is now, <Anchor component={Link} to={`/machines/${ids?.host}/${ids?.machine}`}>back it up first</Anchor>.</Text>
      <Checkbox label={`Replace ${name}: what is written above is lost`} checked={plan.understood} onChange={(event) => change({ understood: event.currentTarget.checked })} />
    </>
  )
}

function Check(props: StepProps) {
  const { point, plan } = props
  const navigate = useNavigate()
  const zone = useZone()
  const hosts = useQuery(hostsQuery)
  const [requestId] = useState(() => crypto.randomUUID())
  const job = restoreJob(plan, point)
  const check = useQuery({
    queryKey: ['check', job],
    queryFn: () => body(api.POST('/v1/jobs', { params: { query: { validateOnly: true } }, body: job })),
    retry: false, staleTime: 0, gcTime: 0,
  })
  const run = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', { params: { query: { requestId } }, body: job })),
    onSuccess: (made) => navigate(`/jobs/${idOf(made.name)}`),
  })
  const host = hosts.data?.find((known) => known.name === (plan.host || `hosts/${originOf(point)}`))
  const inPlace = !point.fileSet && plan.mode === 'inPlace'
  const { gone } = useOriginal(point)
  const size = point.fileSet ? num(point.files?.dataBytes) : (point.disks ?? []).reduce((sum, disk) => sum + num(disk.dataBytes), num(plan.resumeState ? point.memory?.dataBytes : 0))
  const ids = machineIds(point.virtualMachine)
  return (
    <>
      <dl className="fields">
        <Field label="From">{point.virtualMachineDisplayName}, {time(point.pointTime, zone)}</Field>
        {point.fileSet ? <Field label="What">{plan.path || 'everything'}</Field> : <Field label={inPlace ? 'Replaces' : 'New machine'}>{inPlace ? point.virtualMachineDisplayName : plan.displayName || defaultName(point)}</Field>}
        <Field label="On">{host?.displayName ?? 'the host that it was backed up from'}{host && host.state !== 'STATE_ONLINE' && ' (offline: the job waits for it)'}</Field>
        <Field label="Folder">{plan.folder || (inPlace ? 'where its disks were' : 'the agent’s default folder')}</Field>
        <Field label={plan.path ? 'Writes at most' : 'Writes about'}>{bytes(size)}</Field>
        {!point.fileSet && <Field label="Then">{plan.resumeState ? 'it goes on from its saved memory' : plan.powerOn ? 'it is started' : 'it stays off'}</Field>}
      </dl>
      {inPlace ? <LossInPlace {...props} /> : point.fileSet
        ? <Text>{plan.overwrite ? `What is in ${plan.folder} now is lost when everything is restored.` : `Nothing is overwritten: when ${plan.folder} is there already, the job is refused.`} Recovery points stay as they are.</Text>
        : <Text>The original machine, its disks and all recovery points stay as they are.</Text>}
      {check.isPending && <Text role="status">The daemon checks the request…</Text>}
      {check.error ? <Problem error={check.error} retry={() => void check.refetch()} /> : null}
      {check.isSuccess && (
        <Notice tone="good" title="The daemon accepts it" role="status">
          What only the host can tell, such as its free space or a folder of the same name that is there already, the job checks before it changes anything.
        </Notice>
      )}
      {run.error ? <Problem error={run.error} /> : null}
      <Group>
        <Button color={inPlace ? 'red' : undefined} disabled={!check.isSuccess || (inPlace && !plan.understood && !gone)} loading={run.isPending} onClick={() => run.mutate()}>Restore</Button>
        {ids && <Anchor component={Link} to={`/machines/${ids.host}/${ids.machine}`}>Leave without restoring</Anchor>}
      </Group>
    </>
  )
}
