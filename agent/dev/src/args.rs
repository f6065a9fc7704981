//! The command line of `pointsman-dev`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::error::DevError;
use super::ports;

/// Arguments of `pointsman-dev`.
#[derive(clap::Args, Clone, Debug)]
pub struct DevArgs {
    /// The address that all services listen on.
    #[arg(long, env = "POINTSMAN_DEV_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// nginx: the port that takes requests.
    #[arg(long, env = "POINTSMAN_DEV_EDGE_PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub edge_port: u16,

    /// nginx: the port that shows its status.
    #[arg(long, env = "POINTSMAN_DEV_STATUS_PORT", default_value_t = 8082, value_parser = clap::value_parser!(u16).range(1..))]
    pub status_port: u16,

    /// The admin API.
    #[arg(long, env = "POINTSMAN_DEV_API_PORT", default_value_t = 8081, value_parser = clap::value_parser!(u16).range(1..))]
    pub api_port: u16,

    /// etcd: the port for clients.
    #[arg(long, env = "POINTSMAN_DEV_ETCD_PORT", default_value_t = 12379, value_parser = clap::value_parser!(u16).range(1..))]
    pub etcd_port: u16,

    /// etcd: the port for other members.
    #[arg(long, env = "POINTSMAN_DEV_ETCD_PEER_PORT", default_value_t = 12380, value_parser = clap::value_parser!(u16).range(1..))]
    pub etcd_peer_port: u16,

    /// Redis.
    #[arg(long, env = "POINTSMAN_DEV_REDIS_PORT", default_value_t = 16379, value_parser = clap::value_parser!(u16).range(1..))]
    pub redis_port: u16,

    /// The first demo instance.
    #[arg(long, env = "POINTSMAN_DEV_DEMO_PORT_1", default_value_t = 9001, value_parser = clap::value_parser!(u16).range(1..))]
    pub demo_port_1: u16,

    /// The second demo instance.
    #[arg(long, env = "POINTSMAN_DEV_DEMO_PORT_2", default_value_t = 9002, value_parser = clap::value_parser!(u16).range(1..))]
    pub demo_port_2: u16,

    /// nginx: worker processes. Each takes the instances in turn by itself.
    #[arg(long, env = "POINTSMAN_DEV_WORKERS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub workers: u16,

    /// Data and logs.
    #[arg(long, env = "POINTSMAN_DEV_DATA_DIR", default_value = ".pointsman")]
    pub data_dir: PathBuf,

    /// The folder that holds Pointsman's `nginx/` and `lua/`; without it, the
    /// current one or the nearest above.
    #[arg(long, env = "POINTSMAN_DEV_SOURCE")]
    pub source: Option<PathBuf>,
}

/// One port that must be free, with what to call it.
struct Wanted {
    port: u16,
    service: &'static str,
    flag: &'static str,
}

impl DevArgs {
    /// An address with one of the ports.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host, port)
    }

    /// Refuses a port that is given twice or that somebody has.
    pub fn check_ports(&self) -> Result<(), DevError> {
        let wanted = self.wanted();
        for (at, one) in wanted.iter().enumerate() {
            if let Some(before) = wanted[..at].iter().find(|other| other.port == one.port) {
                return Err(DevError::PortTwice {
                    port: one.port,
                    first: before.service,
                    second: one.service,
                    flag: one.flag,
                });
            }
        }
        for Wanted {
            port,
            service,
            flag,
        } in wanted
        {
            let addr = self.at(port);
            let Err(error) = ports::try_listen(addr) else {
                continue;
            };
            if error.kind() != io::ErrorKind::AddrInUse {
                // Not an address of this machine, or a port that is for root.
                let what = format!("listen on {addr} for {service} (--host, --{flag})");
                return Err(DevError::io(what)(error));
            }
            let holder = ports::holder(addr);
            return Err(DevError::PortTaken {
                addr,
                service,
                flag,
                holder,
            });
        }
        Ok(())
    }

    fn wanted(&self) -> [Wanted; 8] {
        let wanted = |port, service, flag| Wanted {
            port,
            service,
            flag,
        };
        [
            wanted(self.edge_port, "nginx", "edge-port"),
            wanted(self.status_port, "nginx's status", "status-port"),
            wanted(self.api_port, "the admin API", "api-port"),
            wanted(self.etcd_port, "etcd", "etcd-port"),
            wanted(self.etcd_peer_port, "etcd's peer port", "etcd-peer-port"),
            wanted(self.redis_port, "Redis", "redis-port"),
            wanted(self.demo_port_1, "the first demo instance", "demo-port-1"),
            wanted(self.demo_port_2, "the second demo instance", "demo-port-2"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::net::TcpListener;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        dev: DevArgs,
    }

    /// All ports free, but for what the test does to them.
    fn args() -> DevArgs {
        let free = || ports::free_loopback().port();
        DevArgs {
            edge_port: free(),
            status_port: free(),
            api_port: free(),
            etcd_port: free(),
            etcd_peer_port: free(),
            redis_port: free(),
            demo_port_1: free(),
            demo_port_2: free(),
            ..Cli::parse_from(["dev"]).dev
        }
    }

    #[test]
    fn free_ports_are_fine() {
        args().check_ports().unwrap();
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder_and_the_way_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = DevArgs {
            redis_port: port,
            ..args()
        }
        .check_ports()
        .unwrap_err()
        .to_string();
        assert!(
            text.contains(&format!("port {port} on 127.0.0.1 is taken by pid")),
            "{text}"
        );
        assert!(
            text.contains("--redis-port (make run REDIS_PORT=…)"),
            "{text}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_not_called_taken() {
        // A block for documentation: no machine has it.
        let host = "192.0.2.1".parse().unwrap();
        let error = DevArgs { host, ..args() }.check_ports().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("failed to listen on 192.0.2.1:"), "{text}");
    }

    #[test]
    fn a_port_given_twice_is_refused() {
        let mut args = args();
        args.api_port = args.edge_port;
        let text = args.check_ports().unwrap_err().to_string();
        assert!(
            text.contains("is given to both nginx and the admin API"),
            "{text}"
        );
    }
}
