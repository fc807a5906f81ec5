//! The file of an agent's pools of recorders.

use siprec_agent::Pools;

/// The bytes as a file. What is read can be used as it is; what is not is told with a line that there is, and without the
/// passwords of addresses.
pub fn pools(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Pools::parse(&text, "pools.toml") {
        Ok(pools) => {
            assert_eq!(Pools::parse(&text, "other.toml").as_ref(), Ok(&pools));
        }
        Err(error) => {
            let lines = text.matches('\n').count() + 1;
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}");
            assert!(error.to_string().starts_with("pools.toml"), "{error}");
            // Without the `@` behind it, it is no password but a port, and is told as none.
            let are_passwords = text.matches("hunter2").count() == text.matches(":hunter2@").count();
            assert!(!are_passwords || !error.to_string().contains("hunter2"), "{error}");
        }
    }
}
