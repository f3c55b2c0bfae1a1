// Small parts that all pages are made of.
import { Anchor, Button, Code, CopyButton, Group, Modal, Paper, Skeleton, Stack, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useEffect, type ReactNode } from 'react'
import { Link } from 'react-router'
import { explain } from '../api/problem'
import { machineQuery } from '../api/queries'
import { idOf, machineIds, relative, time } from '../logic/format'
import type { Tone } from '../logic/jobs'
import { useNow } from './now'
import { useZone } from './preferences'

/** A page with its heading, which is also the tab's title. */
export function Page({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => { document.title = `${title} – Umbra` }, [title])
  return (
    <Stack gap="md">
      <Group justify="space-between" align="center">
        <Title order={1} size="h2" className="wrap">{title}</Title>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  )
}

export function Panel({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  return (
    <Paper component="section" withBorder p="md" aria-label={title} className="panel">
      <Group justify="space-between" mb="sm">
        <Title order={2} size="h4">{title}</Title>
        {aside}
      </Group>
      {children}
    </Paper>
  )
}

export function Tag({ tone, children }: { tone: Tone; children: ReactNode }) {
  return <span className={`tag tag-${tone}`}>{children}</span>
}

/** A moment: how long ago, and exactly when, in the zone that the page's head names. */
export function When({ value, exact = false }: { value: string | undefined; exact?: boolean }) {
  const zone = useZone()
  const now = useNow()
  if (!value) return <span className="dim">never</span>
  const whole = time(value, zone)
  return (
    <time dateTime={value} title={whole}>
      {exact ? whole : relative(value, now)}
      {exact && <span className="dim"> ({relative(value, now)})</span>}
    </time>
  )
}

/** Something to be read before going on. */
export function Notice({ tone, title, role, children }: { tone: Tone; title?: string; role?: 'alert' | 'status'; children?: ReactNode }) {
  return (
    <div className={`notice notice-${tone}`} role={role}>
      {title && <Text fw={700} className="notice-title">{title}</Text>}
      {children && <div className="notice-body">{children}</div>}
    </div>
  )
}

export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  const { title, detail, action } = explain(error)
  return (
    <Notice tone="bad" title={title} role="alert">
      <Text size="sm" className="wrap">{detail}</Text>
      <Text size="sm" mt={4}>{action}</Text>
      {retry && <Button mt="xs" size="xs" variant="default" onClick={retry}>Try again</Button>}
    </Notice>
  )
}

export function Empty({ children }: { children: ReactNode }) {
  return <Text className="dim" py="md">{children}</Text>
}

interface Asked<T> {
  data: T | undefined
  error: unknown
  refetch(): unknown
}

/** What was asked for: shown as soon as it is known, and still when asking again fails, with a word about that. */
export function Loaded<T>({ query, rows = 3, children }: { query: Asked<T>; rows?: number; children: (data: T) => ReactNode }) {
  const retry = () => void query.refetch()
  if (query.data === undefined) {
    if (query.error) return <Problem error={query.error} retry={retry} />
    return (
      <Stack gap={6} aria-busy="true" aria-label="Loading">
        {Array.from({ length: rows }, (_, row) => <Skeleton key={row} height={22} />)}
      </Stack>
    )
  }
  return (
    <>
      {query.error ? <Problem error={query.error} retry={retry} /> : null}
      {children(query.data)}
    </>
  )
}

/** A machine by its resource name: its own name when that is known, and the way to its page. */
export function MachineLink({ name, known }: { name: string; known?: string }) {
  const ids = machineIds(name)
  const query = useQuery({ ...machineQuery(ids?.host ?? '', ids?.machine ?? ''), enabled: ids !== undefined && !known, staleTime: Infinity, retry: false })
  const text = known || query.data?.displayName || idOf(name)
  if (!ids) return <>{text}</>
  return <Anchor component={Link} to={`/machines/${ids.host}/${ids.machine}`}>{text}</Anchor>
}

export function Field({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="field">
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  )
}

export function Copyable({ text, label }: { text: string; label: string }) {
  return (
    <Group gap="xs" wrap="nowrap" align="flex-start">
      <Code block className="grow wrap">{text}</Code>
      <CopyButton value={text}>
        {({ copied, copy }) => <Button variant="default" onClick={copy} aria-label={`Copy ${label}`}>{copied ? 'Copied' : 'Copy'}</Button>}
      </CopyButton>
    </Group>
  )
}

/** Asks before something that can't simply be taken back: `children` say what exactly is lost. */
export function Confirm(props: {
  opened: boolean; title: string; action: string; busy: boolean; error: unknown; danger?: boolean; disabled?: boolean
  onClose: () => void; onConfirm: () => void; children: ReactNode
}) {
  return (
    <Dialog opened={props.opened} onClose={props.onClose} title={props.title}>
      <Stack gap="sm">
        {props.children}
        {props.error ? <Problem error={props.error} /> : null}
        <Group justify="flex-end">
          <Button variant="default" onClick={props.onClose} data-autofocus>Keep as it is</Button>
          <Button color={props.danger === false ? undefined : 'red'} loading={props.busy} disabled={props.disabled} onClick={props.onConfirm}>{props.action}</Button>
        </Group>
      </Stack>
    </Dialog>
  )
}

/** Scrolling isn't locked: that would put a style into the page, which the content policy forbids. */
export function Dialog(props: { opened: boolean; onClose: () => void; title: string; children: ReactNode }) {
  return (
    <Modal opened={props.opened} onClose={props.onClose} title={props.title} lockScroll={false} size="lg"
      closeButtonProps={{ 'aria-label': 'Close' }} transitionProps={{ duration: 0 }}>
      {props.children}
    </Modal>
  )
}
