//! Every class and method that the routes use, with the types that we send and expect.
//!
//! One table for all: [`crate::capabilities`] checks the classes of the running system against
//! it before anything is sent, in release builds too, because Apple may change private classes
//! with any update; and the stand-in frameworks of the tests are built from it.
//!
//! The types are those of the class dumps of iOS 13.4, 15.2, 16.4 and 18.0, which agree on the
//! methods below, and of the programs that are known to work. None was seen on a Mac by us.

use crate::objc::IoSurface;
use ane::target::Route;
use block2::Block;
use objc2::encode::{EncodeArguments, EncodeReturn};
use objc2::runtime::{AnyClass, AnyObject, Bool, Sel, VerificationError};
use std::ffi::{CStr, CString, c_char, c_void};

/// Nil or an object.
pub type Id = *mut AnyObject;
/// Where a method leaves an error object.
pub type Error = *mut *mut AnyObject;
/// Objects one after another.
pub type Ids = *const *const AnyObject;
/// `IOSurfaceRef`.
pub(crate) type SurfaceRef = *mut IoSurface;
/// Called when a request has finished: whether it succeeded, and nil or the error.
pub(crate) type Handler = *mut Block<dyn Fn(Bool, Id)>;

/// A method of the table.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The class.
    pub class: &'static CStr,
    /// Whether it is sent to the class itself.
    pub of_class: bool,
    /// The selector.
    pub selector: &'static CStr,
    /// Which routes need it.
    pub need: Need,
    encoding: fn() -> String,
    verify: fn(&AnyClass, Sel) -> Result<(), VerificationError>,
}

/// Who needs a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Both routes through Objective-C.
    Both,
    /// Only `_ANEClient`.
    Client,
    /// Only `_ANEInMemoryModel`.
    InMemory,
    /// Nobody; it is used where it is there.
    Optional,
}

impl Need {
    /// Whether a route cannot do without.
    pub fn of(self, route: Route) -> bool {
        match self {
            Need::Both => matches!(route, Route::Client | Route::InMemory),
            Need::Client => route == Route::Client,
            Need::InMemory => route == Route::InMemory,
            Need::Optional => false,
        }
    }
}

impl Method {
    /// The types of result, receiver, selector and arguments, as the runtime writes them.
    pub fn types(&self) -> CString {
        CString::new((self.encoding)()).expect("an encoding has no zero byte")
    }

    /// Compares with a class of the running system.
    ///
    /// # Errors
    /// If the method is missing or has other types.
    pub fn verify(&self, class: &AnyClass) -> Result<(), VerificationError> {
        let selector = Sel::register(self.selector);
        (self.verify)(if self.of_class { class.metaclass() } else { class }, selector)
    }
}

fn encode<A: EncodeArguments, R: EncodeReturn>() -> String {
    let mut types = format!("{}@:", R::ENCODING_RETURN);
    for argument in A::ENCODINGS {
        types += &argument.to_string();
    }
    types
}

macro_rules! sign {
    (+) => {
        true
    };
    (-) => {
        false
    };
}

macro_rules! table {
    ($($class:literal { $($sign:tt $selector:literal ($($argument:ty),*) $result:ty, $need:ident;)* })*) => {
        /// The table.
        pub const METHODS: &[Method] = &[
            $($(Method {
                class: $class,
                of_class: sign!($sign),
                selector: $selector,
                need: Need::$need,
                encoding: encode::<($($argument,)*), $result>,
                verify: |class, selector| {
                    class.verify_sel::<($($argument,)*), $result>(selector)
                },
            },)*)*
        ];
    };
}

table! {
    c"NSString" {
        + c"stringWithUTF8String:" (*const c_char) Id, Both;
        - c"UTF8String" () *const c_char, Both;
    }
    c"NSData" {
        + c"dataWithBytes:length:" (*const c_void, usize) Id, Both;
    }
    c"NSNumber" {
        + c"numberWithUnsignedLongLong:" (u64) Id, Both;
    }
    c"NSArray" {
        + c"arrayWithObjects:count:" (Ids, usize) Id, Both;
    }
    c"NSDictionary" {
        + c"dictionaryWithObjects:forKeys:count:" (Ids, Ids, usize) Id, Both;
    }
    c"NSURL" {
        + c"fileURLWithPath:isDirectory:" (Id, Bool) Id, Client;
    }
    c"NSError" {
        - c"domain" () Id, Both;
        - c"code" () isize, Both;
        - c"localizedDescription" () Id, Both;
    }
    c"_ANEIOSurfaceObject" {
        + c"objectWithIOSurface:" (SurfaceRef) Id, Both;
    }
    c"_ANERequest" {
        + c"requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:"
            (Id, Id, Id, Id, Id, Id, Id) Id, Both;
        - c"setCompletionHandler:" (Handler) (), Optional;
    }
    c"_ANEClient" {
        + c"sharedConnection" () Id, Client;
        - c"compileModel:options:qos:error:" (Id, Id, u32, Error) Bool, Client;
        - c"loadModel:options:qos:error:" (Id, Id, u32, Error) Bool, Client;
        - c"evaluateWithModel:options:request:qos:error:" (Id, Id, Id, u32, Error) Bool, Client;
        - c"unloadModel:options:qos:error:" (Id, Id, u32, Error) Bool, Client;
        - c"purgeCompiledModel:" (Id) (), Optional;
    }
    c"_ANEModel" {
        + c"modelAtURL:key:" (Id, Id) Id, Client;
    }
    c"_ANEInMemoryModelDescriptor" {
        + c"modelWithMILText:weights:optionsPlist:" (Id, Id, Id) Id, InMemory;
    }
    c"_ANEInMemoryModel" {
        + c"inMemoryModelWithDescriptor:" (Id) Id, InMemory;
        - c"hexStringIdentifier" () Id, InMemory;
        - c"compileWithQoS:options:error:" (u32, Id, Error) Bool, InMemory;
        - c"loadWithQoS:options:error:" (u32, Id, Error) Bool, InMemory;
        - c"evaluateWithQoS:options:request:error:" (u32, Id, Id, Error) Bool, InMemory;
        - c"unloadWithQoS:error:" (u32, Error) Bool, InMemory;
    }
    c"_ANEDeviceInfo" {
        + c"aneSubType" () Id, Optional;
    }
}
