//! Plain REST, as a program would speak it.

mod apiservices;
mod discovery;
mod objects;
mod watches;
mod who;

/// Where machines of the default namespace are.
const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";
/// Where racks are.
const RACKS: &str = "/apis/inventory.example.com/v1/racks";
