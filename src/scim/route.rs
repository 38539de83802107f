//! The names of what can be asked for, for logs and metrics: a fixed set, free of anything that a client chose.

/// Declares [`Route`] from rows of variant and name.
macro_rules! routes {
    ($($(#[doc = $doc:expr])+ $route:ident = $label:expr;)+) => {
        /// What a request asks for, without which one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Route {
            $($(#[doc = $doc])+ $route,)+
        }

        impl Route {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Route] = &[$(Route::$route),+];

            /// The name of it.
            pub fn label(self) -> &'static str {
                match self {
                    $(Route::$route => $label,)+
                }
            }
        }
    };
}

routes! {
    /// `GET /ServiceProviderConfig`
    ServiceProviderConfig = "service_provider_config";
    /// `GET /ResourceTypes` and what is below
    ResourceTypes = "resource_types";
    /// `GET /Schemas` and what is below
    Schemas = "schemas";
    /// `GET /Users`
    ListUsers = "list_users";
    /// `GET /Groups`
    ListGroups = "list_groups";
    /// `GET /`
    ListAll = "list_all";
    /// `POST /Users/.search`
    SearchUsers = "search_users";
    /// `POST /Groups/.search`
    SearchGroups = "search_groups";
    /// `POST /.search`
    SearchAll = "search_all";
    /// `POST /Users`
    CreateUser = "create_user";
    /// `POST /Groups`
    CreateGroup = "create_group";
    /// `GET /Users/{id}`
    ReadUser = "read_user";
    /// `GET /Groups/{id}`
    ReadGroup = "read_group";
    /// `PUT /Users/{id}`
    ReplaceUser = "replace_user";
    /// `PUT /Groups/{id}`
    ReplaceGroup = "replace_group";
    /// `PATCH /Users/{id}`
    PatchUser = "patch_user";
    /// `PATCH /Groups/{id}`
    PatchGroup = "patch_group";
    /// `DELETE /Users/{id}`
    DeleteUser = "delete_user";
    /// `DELETE /Groups/{id}`
    DeleteGroup = "delete_group";
    /// `POST /Bulk`
    Bulk = "bulk";
    /// `/Me`, whatever the method
    Me = "me";
    /// `POST /Licenses/.search`, whatever the catalog is called
    SearchEntries = "search_entries";
    /// `GET /Licenses`
    ListEntries = "list_entries";
    /// `GET /Licenses/{id}`
    ReadEntry = "read_entry";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_number_and_a_name_of_its_own() {
        let mut names: Vec<&str> = Route::ALL.iter().map(|route| route.label()).collect();
        for (number, route) in Route::ALL.iter().enumerate() {
            assert_eq!(*route as usize, number);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Route::ALL.len());
    }
}
