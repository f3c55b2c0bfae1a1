// All that is known of a recovery point: its health, its disks, what stood in the way of a better one, its configuration and VSS documents.
import { Button, Code, CopyButton, Group, Stack, Text } from '@mantine/core'
import { useMutation, useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from 'react-router'
import { api, body, type Job, type RecoveryPoint } from '../api/client'
import { identityQuery, pointQuery } from '../api/queries'
import { bytes, enumWords, idOf, seconds, time } from '../logic/format'
import { can } from '../logic/permissions'
import { precise } from '../logic/phases'
import { waitAdvice } from './job_parts'
import { Dialog, Field, Loaded, Notice, Problem, Tag } from './parts'
import { useZone } from './preferences'

export function PointDetails({ id, close }: { id: string; close: () => void }) {
  const zone = useZone()
  const query = useQuery(pointQuery(id))
  return (
    <Dialog opened={id !== ''} onClose={close} title={`Recovery point of ${time(query.data?.pointTime, zone)}`}>
      {id !== '' && <Loaded query={query} rows={6}>{(point) => <Details point={point} />}</Loaded>}
    </Dialog>
  )
}

export function HealthTag({ point }: { point: RecoveryPoint }) {
  if (point.health === 'HEALTH_DAMAGED') return <Tag tone="bad">Damaged</Tag>
  if (point.health === 'HEALTH_HEALED') return <Tag tone="warn">Was damaged, healed</Tag>
  return point.verifyTime ? <Tag tone="good">Verified</Tag> : <Tag tone="idle">Not verified yet</Tag>
}

function Details({ point }: { point: RecoveryPoint }) {
  const zone = useZone()
  const damage = point.damage ?? []
  const documents = point.vssDocuments ?? []
  return (
    <Stack gap="sm">
      <dl className="fields">
        <Field label="Health"><HealthTag point={point} />{point.verifyTime && <> read back whole at {time(point.verifyTime, zone)}</>}</Field>
        <Field label="How">{enumWords(point.mechanism, 'BACKUP_MECHANISM_') || 'files'}</Field>
        {point.freezeDuration && <Field label="Frozen for">{precise(seconds(point.freezeDuration) ?? 0)}</Field>}
        {point.downtime && <Field label="Stood still for">{precise(seconds(point.downtime) ?? 0)}</Field>}
        <Field label="Holds">{bytes(point.figures?.logicalBytes)}</Field>
        <Field label="Added to the repository">{bytes(point.storedBytes)}</Field>
        <Field label="Read">{bytes(point.readBytes)}</Field>
        {point.memory && <Field label="Memory">{bytes(point.memory.sizeBytes)} of the same instant</Field>}
        <Field label="Repository">{idOf(point.repository)}</Field>
        <Field label="Made by"><Link to={`/jobs/${idOf(point.job)}`}>job {idOf(point.job).slice(0, 8)}</Link></Field>
        <Field label="Seen since">{time(point.createTime, zone)}</Field>
        <Field label="Name">{idOf(point.name)}</Field>
      </dl>
      {damage.length > 0 && (
        <Notice tone={point.health === 'HEALTH_DAMAGED' ? 'bad' : 'warn'} title={point.health === 'HEALTH_DAMAGED' ? 'Places that can’t be restored' : 'Places that were damaged'}>
          <ul className="loss">{damage.slice(0, 100).map((place) => <li key={`${place.disk}-${place.offsetBytes}`}>{place.disk}: {bytes(place.lengthBytes)} at {place.offsetBytes}: {place.message}{place.healedTime && ` (healed ${time(place.healedTime, zone)})`}</li>)}</ul>
          {point.health === 'HEALTH_DAMAGED' && <Text size="sm">The next backup of the machine stores what it still has of them anew. Restore another point until then.</Text>}
        </Notice>
      )}
      {(point.mechanismObstacles ?? []).map((obstacle) => <Text size="sm" key={obstacle.reason}>{obstacle.message} <span className="dim">({obstacle.reason})</span> {waitAdvice(obstacle.reason ?? '')}</Text>)}
      {(point.disks ?? []).length > 0 && (
        <ul className="loss" aria-label="Disks">{(point.disks ?? []).map((disk) => <li key={disk.name}>{disk.name}: {bytes(disk.capacityBytes)}, {bytes(disk.dataBytes)} of data <span className="dim">{disk.path} ({disk.format})</span></li>)}</ul>
      )}
      {(point.excludedDisks ?? []).map((disk) => <Notice key={disk.name} tone="warn" title={`Disk ${disk.name} is not in it`}>{disk.message}</Notice>)}
      {(point.files?.folders ?? []).length > 0 && <Text size="sm">Folders: {(point.files?.folders ?? []).join(', ')}</Text>}
      {point.configuration && <Document title="Configuration of the machine" text={point.configuration} />}
      {documents.map((text, index) => <Document key={index} title={documentTitle(text, index)} text={text} />)}
      {documents.length === 0 && !point.fileSet && <Text size="sm" className="dim">No VSS documents came with it.</Text>}
      <VerifyButton point={point} />
    </Stack>
  )
}

function documentTitle(text: string, index: number): string {
  if (text.includes('BACKUP_COMPONENTS')) return 'VSS: backup components document'
  if (text.includes('WRITER_METADATA')) return `VSS: writer metadata${/friendlyName="([^"]*)"/.exec(text)?.[1] ? ` of ${/friendlyName="([^"]*)"/.exec(text)?.[1]}` : ''}`
  return `VSS: document ${index + 1}`
}

function Document({ title, text }: { title: string; text: string }) {
  return (
    <details>
      <summary>{title}</summary>
      <Group justify="flex-end"><CopyButton value={text}>{({ copied, copy }) => <Button size="compact-xs" variant="default" onClick={copy} aria-label={`Copy ${title}`}>{copied ? 'Copied' : 'Copy'}</Button>}</CopyButton></Group>
      <div className="document" tabIndex={0} role="region" aria-label={title}><Code block className="wrap">{text}</Code></div>
    </details>
  )
}

function VerifyButton({ point }: { point: RecoveryPoint }) {
  const identity = useQuery(identityQuery)
  const navigate = useNavigate()
  const verify = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', { body: { verify: { recoveryPoint: point.name, repository: point.repository, level: 'LEVEL_DISKS' } } })),
    onSuccess: (job) => navigate(`/jobs/${idOf(job.name)}`),
  })
  if (point.deleteTime || !can(identity.data, 'maintenance.run')) return null
  return (
    <>
      {verify.error ? <Problem error={verify.error} /> : null}
      <Group><Button variant="default" loading={verify.isPending} onClick={() => verify.mutate()}>Read it back and compare now</Button></Group>
    </>
  )
}
