//! A service of its own style, in memory: ids in fields, answers in wrappers.

use kubridge_bridge::caller::{CallError, Code};
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};

use crate::service::{State, status, text};

type Answer = Result<DynamicMessage, CallError>;

fn number(message: &DynamicMessage, field: &str) -> i64 {
    let value = message.get_field_by_name(field).unwrap();
    value.as_i64().or(value.as_i32().map(i64::from)).unwrap()
}

impl State {
    /// Answers for the fleet.
    pub fn fleet(&mut self, method: &MethodDescriptor, request: &DynamicMessage) -> Answer {
        let mut reply = DynamicMessage::new(method.output());
        let key =
            |message: &DynamicMessage| format!("{}/{}", text(message, "yard"), number(message, "serial"));
        match method.name() {
            "FetchRobot" => {
                let robot = self.objects.get(&key(request)).ok_or_else(|| status(Code::NotFound, ""))?;
                reply.set_field_by_name("robot", Value::Message(robot.clone()));
            }
            "AllRobots" => {
                let yard = text(request, "yard");
                let here = |robot: &&DynamicMessage| yard.is_empty() || text(robot, "yard") == yard;
                let all = self.objects.values().filter(here).cloned().map(Value::Message).collect();
                reply.set_field_by_name("all", Value::List(all));
            }
            "Register" => {
                let descriptor = method.parent_pool().get_message_by_name("fleet.v1.Robot").unwrap();
                let mut robot = DynamicMessage::new(descriptor);
                robot.set_field_by_name("serial", Value::I64(number(request, "serial")));
                robot.set_field_by_name("yard", Value::String(text(request, "yard")));
                robot.set_field_by_name("model", Value::String(text(request, "model")));
                robot.set_field_by_name("battery", Value::I32(100));
                self.objects.insert(key(&robot), robot.clone());
                reply.set_field_by_name("robot", Value::Message(robot));
            }
            "Change" => {
                let robot = request.get_field_by_name("robot").unwrap().as_message().unwrap().clone();
                self.objects.insert(key(&robot), robot);
            }
            "Scrap" => {
                self.objects.remove(&key(request)).ok_or_else(|| status(Code::NotFound, ""))?;
            }
            "Wave" => {
                let said =
                    format!("robot {} waved {} times", number(request, "robot"), number(request, "times"));
                reply.set_field_by_name("said", Value::String(said));
            }
            name => return Err(status(Code::Unimplemented, name)),
        }
        Ok(reply)
    }
}
