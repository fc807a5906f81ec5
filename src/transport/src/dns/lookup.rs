//! Questions to DNS, and to the system's resolver.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use super::records::{Preference, Server};
use crate::transport::lock;

/// How long one DNS server may take for one answer; then it is asked once more, or the next one is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where the system says which servers it asks.
const SYSTEM: &str = "/etc/resolv.conf";

/// Asks a given DNS server for everything, or as the system does: its servers for services, its resolver for addresses,
/// which knows the hosts file and orders addresses by what is reachable (RFC 6724).
#[derive(Debug)]
pub(crate) struct Dns {
    server: Option<SocketAddr>,
    made: Mutex<Option<Made>>,
}

/// The resolver, and when what it was made from had changed.
#[derive(Clone, Debug)]
struct Made {
    resolver: Arc<TokioResolver>,
    changed: Option<SystemTime>,
}

impl Dns {
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        Self { server, made: Mutex::default() }
    }

    /// The addresses of a host.
    ///
    /// # Errors
    /// What the resolver says.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if self.server.is_none() {
            let found = tokio::net::lookup_host((host.trim_end_matches('.'), 0)).await;
            let found = found.map_err(|error| error.to_string())?;
            return Ok(found.map(|address| address.ip()).collect());
        }
        let resolver = self.resolver()?;
        let found = resolver.lookup_ip(qualified(host)).await.map_err(|error| explain(&error))?;
        Ok(found.iter().collect())
    }

    /// The servers of a service; empty where the domain says nothing of it.
    ///
    /// # Errors
    /// What the resolver says.
    pub(crate) async fn servers(&self, service: &str) -> Result<Vec<Server>, String> {
        let server = |data: &RData| match data {
            RData::SRV(server) => Some(Server {
                priority: server.priority,
                weight: server.weight,
                port: server.port,
                host: server.target.to_ascii(),
            }),
            _ => None,
        };
        self.records(service, RecordType::SRV, server).await
    }

    /// The transports that a domain prefers; empty where it does not say.
    ///
    /// # Errors
    /// What the resolver says.
    pub(crate) async fn preferences(&self, domain: &str) -> Result<Vec<Preference>, String> {
        let preference = |data: &RData| match data {
            RData::NAPTR(record) => Some(Preference {
                order: record.order,
                preference: record.preference,
                flags: String::from_utf8_lossy(&record.flags).into_owned(),
                services: String::from_utf8_lossy(&record.services).into_owned(),
                replacement: record.replacement.to_ascii(),
            }),
            _ => None,
        };
        self.records(domain, RecordType::NAPTR, preference).await
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, String> {
        match self.resolver()?.lookup(qualified(name), kind).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| read(&record.data)).collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(explain(&error)),
        }
    }

    fn resolver(&self) -> Result<Arc<TokioResolver>, String> {
        let changed = match self.server {
            Some(_) => None,
            None => fs::metadata(SYSTEM).and_then(|metadata| metadata.modified()).ok(),
        };
        let mut made = lock(&self.made);
        if let Some(made) = made.as_ref().filter(|made| made.changed == changed) {
            return Ok(Arc::clone(&made.resolver));
        }
        let mut builder = match self.server {
            Some(server) => Resolver::builder_with_config(asking(server), TokioRuntimeProvider::default()),
            None => Resolver::builder_tokio().map_err(|error| error.to_string())?,
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (PATIENCE, 1);
        let resolver = Arc::new(builder.build().map_err(|error| error.to_string())?);
        *made = Some(Made { resolver: Arc::clone(&resolver), changed });
        Ok(resolver)
    }
}

fn asking(server: SocketAddr) -> ResolverConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections)])
}

/// Without search domains: a URI names a whole domain.
fn qualified(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn explain(error: &NetError) -> String {
    match error {
        error if error.is_nx_domain() => "no such name in DNS".to_owned(),
        error if error.is_no_records_found() => "DNS knows no address of it".to_owned(),
        error => error.to_string(),
    }
}
