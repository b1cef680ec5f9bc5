//! What hostile clients and hostile backends try, over real sockets: nothing of it gets through.

mod answers;
mod floods;
mod heads;
mod identity;
mod paths;
mod smuggling;
mod upgrades;
