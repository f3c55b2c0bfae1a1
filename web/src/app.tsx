// The frame of all pages: who is signed in, the ways through the product, the connection's state. Each page is loaded when it is first opened.
import { Button, Group, Menu, NativeSelect, Skeleton, Text, useMantineColorScheme } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { lazy, Suspense, type ReactNode } from 'react'
import { Link, NavLink, Route, Routes } from 'react-router'
import { api, body, type Identity } from './api/client'
import { ApiError } from './api/problem'
import { identityQuery } from './api/queries'
import { useEvents } from './live/use_live'
import { zoneName } from './logic/format'
import { can } from './logic/permissions'
import { SignIn } from './pages/sign_in'
import { Page, Problem } from './ui/parts'
import { setZone, useZone } from './ui/preferences'

const loadOverview = () => import('./pages/overview')
// What one opens in the morning is loaded while the daemon is asked who is signed in, not after that.
if (window.location.pathname === '/') void loadOverview().catch(() => undefined)
const Overview = lazy(loadOverview)
const Machines = lazy(() => import('./pages/machines'))
const Machine = lazy(() => import('./pages/machine'))
const FileSet = lazy(() => import('./pages/file_set'))
const Restore = lazy(() => import('./pages/restore'))
const Jobs = lazy(() => import('./pages/jobs'))
const JobPage = lazy(() => import('./pages/job'))
const Hosts = lazy(() => import('./pages/hosts'))
const HostPage = lazy(() => import('./pages/host'))
const Policies = lazy(() => import('./pages/policies'))
const PolicyEdit = lazy(() => import('./pages/policy_edit'))
const Repositories = lazy(() => import('./pages/repositories'))
const RepositoryPage = lazy(() => import('./pages/repository'))
const Administration = lazy(() => import('./pages/admin/admin'))

export function App() {
  const identity = useQuery(identityQuery)
  if (identity.error instanceof ApiError && identity.error.status === 401) return <SignIn />
  if (identity.data) return <Shell identity={identity.data} />
  return (
    <main className="sign-in">
      {identity.error ? <Problem error={identity.error} retry={() => void identity.refetch()} /> : <Skeleton height={120} aria-label="Loading" />}
    </main>
  )
}

const PAGES = [
  { to: '/', label: 'Overview', permission: '' },
  { to: '/machines', label: 'Virtual machines', permission: 'vms.view' },
  { to: '/jobs', label: 'Jobs', permission: 'jobs.view' },
  { to: '/policies', label: 'Policies', permission: 'policies.view' },
  { to: '/hosts', label: 'Hosts', permission: 'hosts.view' },
  { to: '/repositories', label: 'Repositories', permission: 'repositories.view' },
  { to: '/admin', label: 'Administration', permission: '' },
]

function Shell({ identity }: { identity: Identity }) {
  const connection = useEvents()
  return (
    <div className="shell">
      <a className="skip" href="#main">Skip to the page</a>
      <header className="shell-head">
        <Link to="/" className="shell-brand"><img src="/umbra.svg" alt="" width={22} height={22} />Umbra</Link>
        <Settings identity={identity} />
      </header>
      {connection === 'lost' && (
        <div className="banner" role="status">
          The connection to the daemon is lost. What you see is of before; the page comes back by itself and misses nothing.
        </div>
      )}
      <nav className="shell-nav" aria-label="Pages">
        {PAGES.filter((page) => page.permission === '' || can(identity, page.permission)).map((page) => (
          <NavLink key={page.to} to={page.to} end={page.to === '/'}>{page.label}</NavLink>
        ))}
      </nav>
      <main className="shell-main" id="main" tabIndex={-1}>
        <Suspense fallback={<Skeleton height={160} aria-label="Loading" />}>
          <Routes>
            <Route path="/" element={<Overview />} />
            <Route path="/machines" element={<Machines />} />
            <Route path="/machines/:host/:machine" element={<Machine />} />
            <Route path="/file-sets/:host/:set" element={<FileSet />} />
            <Route path="/restore/:point" element={<Restore />} />
            <Route path="/jobs" element={<Jobs />} />
            <Route path="/jobs/:job" element={<JobPage />} />
            <Route path="/hosts" element={<Hosts />} />
            <Route path="/hosts/:host" element={<HostPage />} />
            <Route path="/policies" element={<Policies />} />
            <Route path="/policies/new" element={<PolicyEdit />} />
            <Route path="/policies/:policy/edit" element={<PolicyEdit />} />
            <Route path="/repositories" element={<Repositories />} />
            <Route path="/repositories/:repository" element={<RepositoryPage />} />
            <Route path="/admin/*" element={<Administration />} />
            <Route path="*" element={<Nowhere />} />
          </Routes>
        </Suspense>
      </main>
    </div>
  )
}

function Nowhere(): ReactNode {
  return <Page title="No such page"><Text>The address is wrong, or of another version. <Link to="/">Go to the overview.</Link></Text></Page>
}

function Settings({ identity }: { identity: Identity }) {
  const queries = useQueryClient()
  const zone = useZone()
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const signOut = useMutation({
    mutationFn: () => body(api.DELETE('/v1/users/{user}/sessions/{session}', { params: { path: { user: 'me', session: 'current' } } })),
    // Whatever the answer: what was seen is forgotten, and the identity is asked for again.
    onSettled: () => { queries.clear(); window.location.assign('/') },
  })
  return (
    <Group gap="sm">
      <NativeSelect size="xs" aria-label="Times are shown in" value={zone} onChange={(event) => setZone(event.currentTarget.value === 'utc' ? 'utc' : 'local')}
        data={[{ value: 'local', label: `Times in ${zoneName('local', new Date())}` }, { value: 'utc', label: 'Times in UTC' }]} />
      <NativeSelect size="xs" aria-label="Colours" value={colorScheme}
        onChange={(event) => setColorScheme(event.currentTarget.value as 'auto' | 'light' | 'dark')}
        data={[{ value: 'auto', label: 'Colours of the system' }, { value: 'light', label: 'Light' }, { value: 'dark', label: 'Dark' }]} />
      <Menu transitionProps={{ duration: 0 }} withinPortal={false}>
        <Menu.Target><Button size="xs" variant="default">{identity.displayName || identity.name}</Button></Menu.Target>
        <Menu.Dropdown>
          <Menu.Item component={Link} to="/admin/account">My account</Menu.Item>
          <Menu.Item component="a" href="/docs">API reference</Menu.Item>
          {identity.session && <Menu.Item onClick={() => signOut.mutate()}>Sign out</Menu.Item>}
        </Menu.Dropdown>
      </Menu>
    </Group>
  )
}
